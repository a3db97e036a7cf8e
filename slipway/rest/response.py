"""HTTP responses as bytes: status lines, heads, chunks, JSON errors. Does not know sockets or models."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import orjson

from slipway.errors import Code, SlipwayError

HTTP_STATUS: Final = {
    Code.UNKNOWN: 400,
    Code.INTERNAL: 500,
    Code.NOT_FOUND: 404,
    Code.INVALID_ARG: 400,
    Code.UNAVAILABLE: 503,
    Code.UNSUPPORTED: 501,
    Code.ALREADY_EXISTS: 400,
    Code.CANCELLED: 400,
}
JSON: Final = b"Content-Type: application/json\r\n"
BINARY: Final = b"Content-Type: application/octet-stream\r\nInference-Header-Content-Length: %d\r\n"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"
_CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
_STATUS_LINE: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_STATUS_LINE[503] += b"Retry-After: 1\r\n"  # seconds; whatever the reason, it can pass
CLOSE: Final = b"Connection: close\r\n"
KEEP_ALIVE: Final = b"Connection: keep-alive\r\n"  # the default in HTTP/1.1, but not in HTTP/1.0


def sized_head(status: int, headers: bytes, size: int, connection: bytes = b"") -> bytes:
    """Return the head of a response with `size` bytes of body; `headers` and `connection` are complete lines."""
    return b"%b%bContent-Length: %d\r\n%b\r\n" % (_STATUS_LINE[status], headers, size, connection)


def streamed_head(status: int, headers: bytes, connection: bytes = b"", *, chunked: bool) -> bytes:
    """Return the head of a response of unknown length; without chunks, closing the connection ends it."""
    return b"%b%b%b%b\r\n" % (_STATUS_LINE[status], headers, _CHUNKED if chunked else b"", connection)


def chunk(data: bytes) -> bytes:
    """Return a piece of a chunked body; an empty piece would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def error_body(message: str) -> bytes:
    """Return the JSON body of an error; characters that UTF-8 cannot encode are replaced."""
    return orjson.dumps({"error": message.encode(errors="replace").decode()})


# Makes the status and the JSON body of an error, given the usual status, the message and, if there is one, the error.
Envelope = Callable[[int, str, SlipwayError | None], tuple[int, bytes]]


def plain_envelope(status: int, message: str, _: SlipwayError | None = None) -> tuple[int, bytes]:
    """Return the status and body of an error as KServe's protocol has them."""
    return status, error_body(message)


def refusal(status: int, message: str) -> bytes:
    """Return a complete response that refuses a request and closes the connection."""
    body = error_body(message)
    return sized_head(status, JSON, len(body), CLOSE) + body
