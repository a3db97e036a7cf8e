"""Server-sent events over HTTP: the answer of the route generate_stream, which tritonclient does not support."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPSConnection
from typing import Any, Final

import orjson

from slipway.cli.tls import Address, Tls
from slipway.errors import invalid, shown
from slipway.foreign_json import parse_foreign

_DATA: Final = b"data:"
_OK: Final = 200


@contextmanager
def open_events(
    address: Address, tls: Tls, path: str, document: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Iterator[Iterator[dict[str, Any]]]:
    """Send a JSON document with POST and yield the events of the answer, each one as it arrives.

    Raise `SlipwayError` with the server's message if it refuses, OSError if the connection fails.
    """
    with closing(open_connection(address, tls)) as connection:
        body = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
        connection.request("POST", f"{path_prefix(address)}/{path}", body, dict(headers or {}))
        response = connection.getresponse()
        if response.status != _OK:
            raise invalid(refusal_text(response.read()))
        yield read_events(response)


def open_connection(address: Address, tls: Tls) -> HTTPConnection:
    """Return a connection, which is made with the first request."""
    if not tls.used:
        return HTTPConnection(address.host, address.port)
    return HTTPSConnection(address.host, address.port, context=tls.context("http"))


def path_prefix(address: Address) -> str:
    """Return the path before the routes, such as /triton in host:port/triton."""
    _, separator, path = address.text.partition("/")
    return f"{separator}{path}".rstrip("/")


def read_events(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the events in the lines of a stream; raise `SlipwayError` with the server's message if one is an error."""
    for line in lines:
        if line.startswith(_DATA):
            event = parse_foreign(line[len(_DATA) :], "the server sent an event that is not JSON")
            if not isinstance(event, dict):
                raise invalid(f"the server sent an event that is not a JSON object: {shown(event)}")
            if event.keys() == {"error"}:
                raise invalid(str(event["error"]))
            yield event


def refusal_text(body: bytes) -> str:
    """Return the message in the body of a refusal, which is an object or an event."""
    try:
        return str(orjson.loads(body.removeprefix(_DATA))["error"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace").strip() or "the server refused the request without a reason"
