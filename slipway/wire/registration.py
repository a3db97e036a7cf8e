"""The registration of a shared memory region, as JSON. The texts are tritonserver's (`src/http_server.cc`, 2.73)."""

from __future__ import annotations

from typing import Any

from slipway.errors import SlipwayError, internal, invalid
from slipway.wire.json_text import MAX_UNSIGNED, NON_STRING, NON_UNSIGNED, parse_object


def read_registration(body: bytes | bytearray) -> tuple[str, int, int]:
    """Return the key, the offset and the size in bytes; raise `SlipwayError` if one of them is missing or wrong."""
    members = parse_object(body)
    if "key" not in members:
        raise _missing("key")
    key = members["key"]
    if not isinstance(key, str):
        raise internal(NON_STRING)
    offset = _unsigned(members.get("offset", 0))
    if "byte_size" not in members:
        raise _missing("byte_size")
    return key, offset, _unsigned(members["byte_size"])


def _missing(field: str) -> SlipwayError:
    return invalid(f"Shared memory register request has no '{field}' field")


def _unsigned(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_UNSIGNED:
        raise internal(NON_UNSIGNED)
    return value
