"""Refuses requests without an API key before anything else looks at them. Does not know the routes.

It stands before the handler of a whole listener, so a route cannot be added without it: only paths that are listed,
byte for byte, are open. A family of routes whose clients expect errors of another form has its own envelope.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from slipway.api_keys import API_KEY_HEADER, AUTHORIZATION, NO_KEY, ApiKeys
from slipway.rest.connection import Handler
from slipway.rest.exchange import Exchange
from slipway.rest.response import JSON, Envelope, plain_envelope

_AUTHORIZATION: Final = AUTHORIZATION.encode()
_API_KEY: Final = API_KEY_HEADER.encode()
# RFC 6750, 3: a challenge to a request without a key does not name an error.
_CHALLENGE: Final = b'WWW-Authenticate: Bearer realm="slipway"\r\n'
_WRONG: Final = b'WWW-Authenticate: Bearer realm="slipway", error="invalid_token"\r\n'


def plain_envelope_of(_: bytes) -> Envelope:
    """Return the form of errors of KServe's protocol, for any path."""
    return plain_envelope


def require_key(
    handler: Handler,
    keys: ApiKeys | None,
    opened: Collection[bytes] = (),
    envelope_of: Callable[[bytes], Envelope] = plain_envelope_of,
) -> Handler:
    """Return the handler that answers what `handler` does, but 401 to requests without one of `keys`, except for the
    paths in `opened`; `handler` itself if there are no keys. `envelope_of` returns the form of errors of a path."""
    if keys is None:
        return handler

    def handle(exchange: Exchange) -> None:
        headers = exchange.headers
        if exchange.path in opened:
            handler(exchange)
        elif reason := keys.refusal(headers.get(_AUTHORIZATION, b""), headers.get(_API_KEY, b"")):
            refuse_key(exchange, reason, envelope_of(exchange.path))
        else:
            handler(exchange)

    return handle


def refuse_key(exchange: Exchange, reason: str, envelope: Envelope = plain_envelope) -> None:
    """Answer that a request lacks a key, or that its key is wrong."""
    status, body = envelope(401, reason, None)
    exchange.answer(status, JSON + (_CHALLENGE if reason == NO_KEY else _WRONG), body)
