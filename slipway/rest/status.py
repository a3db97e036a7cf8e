"""HTTP status of every error code and the bytes of status lines."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import orjson

from slipway.errors import Code

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
STATUS_LINE: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


def error_body(message: str) -> bytes:
    """Return the JSON body of an error; what UTF-8 cannot say is replaced."""
    return orjson.dumps({"error": message.encode(errors="replace").decode()})
