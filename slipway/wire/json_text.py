"""Parse untrusted JSON text into plain Python values; errors have Triton's texts.

msgspec parses strict JSON. Python's parser is tried next, because Triton accepts the tokens NaN, Infinity and
-Infinity; it creates a Python object per number, so it is used only for documents of bounded size.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

import msgspec

from slipway.errors import SlipwayError, internal, invalid
from slipway.wire.duplicate_keys import refuse_duplicate_keys

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError)  # raised by msgspec for malformed or unexpected text
MAX_DEPTH = 100
_TOO_BIG = "Number too big to be stored in double."
MAX_UNTYPED_BYTES = 2 << 20  # Python objects take up to 16 times the bytes of their JSON, and are made in one call
_PIECE: Final = 1 << 20  # bytes copied at a time
_ESCAPES: Final = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)


def parse(text: bytes | bytearray | memoryview) -> Any:
    """Return the value of a JSON document; raise `SlipwayError` (INTERNAL, as Triton does) if it is malformed."""
    if len(text) > MAX_UNTYPED_BYTES:
        raise malformed(
            f"a JSON document larger than {MAX_UNTYPED_BYTES} bytes must be strict JSON of the expected form; "
            "use the binary data format for large tensors"
        )
    try:
        value = msgspec.json.decode(text)
    except RecursionError:
        raise too_deep() from None
    except NOT_JSON as error:
        value = _parse_leniently(text, error)
    refuse_lone_surrogates(text)
    return value


def _parse_leniently(text: bytes | bytearray | memoryview, error: Exception) -> Any:
    reason = "Invalid encoding in string." if isinstance(error, UnicodeDecodeError) else str(error)
    try:
        return json.loads(str(text, "utf-8-sig"), parse_float=_finite)
    except RecursionError:
        raise too_deep() from None
    except ValueError as lenient:
        is_number = not isinstance(lenient, (json.JSONDecodeError, UnicodeDecodeError))
        raise malformed(_TOO_BIG if is_number else reason) from None


def parse_object(body: bytes | bytearray | memoryview) -> dict[str, Any]:
    """Return the members of a JSON object; an empty body and any other JSON value count as an empty object."""
    if len(body) > MAX_UNTYPED_BYTES:
        raise malformed(f"the document is larger than {MAX_UNTYPED_BYTES} bytes")
    value = parse(body) if len(body) else {}
    refuse_duplicate_keys(body)
    return value if isinstance(value, dict) else {}


def as_double(number: float) -> float:
    """Return a number of a parsed document as a double; raise INTERNAL, as Triton does, if it is too big for one."""
    try:
        return float(number)
    except OverflowError:
        raise malformed(_TOO_BIG) from None


def refuse_lone_surrogates(text: bytes | bytearray | memoryview) -> None:
    """Raise INTERNAL, as Triton does, for an escape of half a character in text that was parsed as JSON.

    The parsers accept it (RFC 8259, 8.2), but the string that it makes cannot be encoded again.
    """
    if len(text) <= _PIECE:  # nearly always, so without a generator
        if b"\\u" not in bytes(text):
            return
    elif not _has_escape(memoryview(text)):
        return
    half = -1  # where the first half of a character ends, while its second half is due
    for escape in _ESCAPES.finditer(text):
        code = int(escape[1], 16) if escape[1] else 0
        is_second = 0xDC00 <= code < 0xE000
        if is_second != (half >= 0) or (is_second and escape.start() != half):
            raise malformed("The surrogate pair in string is invalid.")
        half = escape.end() if 0xD800 <= code < 0xDC00 else -1
    if half >= 0:
        raise malformed("The surrogate pair in string is invalid.")


def _has_escape(text: memoryview) -> bool:
    return any(b"\\u" in bytes(text[start : start + _PIECE + 1]) for start in range(0, len(text), _PIECE))


def malformed(reason: str) -> SlipwayError:
    """Return the error for text that is not JSON."""
    return internal(f"failed to parse the request JSON buffer: {reason}")


def too_deep() -> SlipwayError:
    """Return the error for JSON nested deeper than `MAX_DEPTH` levels."""
    return invalid(f"JSON nesting depth exceeds maximum allowed limit ({MAX_DEPTH})")


def unparsable(field: str, reason: str) -> SlipwayError:
    """Return the error for a field of the wrong JSON type (Triton answers 500 to these)."""
    return internal(f"Unable to parse '{field}': {reason}")


MAX_UNSIGNED = 2**64 - 1
NON_STRING = "attempt to access JSON non-string as string"
NON_BOOLEAN = "attempt to access JSON non-boolean as boolean"
NON_UNSIGNED = "attempt to access JSON non-unsigned-integer as unsigned-integer"
NON_ARRAY = "attempt to access JSON non-array as array"
NON_OBJECT_MEMBERS = "attempt to get members for non-object"


def missing(field: str) -> str:
    """Return the reason for a missing required member."""
    return f"attempt to access non-existing object member '{field}'"


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(text)
    return value
