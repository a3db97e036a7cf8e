"""Refuses requests without an API key before anything else looks at them. Does not know the routes.

It stands before the handler of a whole listener, so a route cannot be added without it: only paths that are listed,
byte for byte, are open. A family of routes whose clients expect another form of errors names its own (`Envelopes`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Final

from slipway.api_keys import API_KEY_HEADER, AUTHORIZATION, NO_KEY, ApiKeys
from slipway.rest.connection import Handler
from slipway.rest.exchange import Exchange
from slipway.rest.response import JSON, error_body

# The beginning of a path -> what makes the JSON body of a refusal with a message.
Envelopes = Mapping[bytes, Callable[[str], bytes]]

_AUTHORIZATION: Final = AUTHORIZATION.encode()
_API_KEY: Final = API_KEY_HEADER.encode()
# RFC 6750, 3: a request without a key is not told of an error.
_CHALLENGE: Final = b'WWW-Authenticate: Bearer realm="slipway"\r\n'
_WRONG: Final = b'WWW-Authenticate: Bearer realm="slipway", error="invalid_token"\r\n'
_NO_ENVELOPES: Final[Envelopes] = MappingProxyType({})


def require_key(
    handler: Handler,
    keys: ApiKeys | None,
    opened: Collection[bytes] = (),
    envelopes: Envelopes = _NO_ENVELOPES,
) -> Handler:
    """Return the handler that answers what `handler` does, but 401 to requests without one of `keys`, except for the
    paths in `opened`; `handler` itself if there are no keys."""
    if keys is None:
        return handler

    def handle(exchange: Exchange) -> None:
        headers = exchange.headers
        if exchange.path in opened:
            handler(exchange)
        elif reason := keys.refusal(headers.get(_AUTHORIZATION, b""), headers.get(_API_KEY, b"")):
            refuse(exchange, reason, envelopes)
        else:
            handler(exchange)

    return handle


def refuse(exchange: Exchange, reason: str, envelopes: Envelopes = _NO_ENVELOPES) -> None:
    """Answer 401, in the envelope of the longest beginning of the path that has one."""
    path = exchange.path
    begin = max((each for each in envelopes if path.startswith(each)), key=len, default=None)
    body = (error_body if begin is None else envelopes[begin])(reason)
    exchange.answer(401, JSON + (_CHALLENGE if reason == NO_KEY else _WRONG), body)
