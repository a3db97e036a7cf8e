"""Write large tensors as JSON in pieces, each of which takes about a millisecond.

The text is the one that `encode.py` and `generate.py` write in one go.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import orjson

from slipway.core.large_work import LARGE, LARGE_COUNT
from slipway.core.tensor import Tensor
from slipway.errors import SlipwayError, invalid

_PIECE: Final = LARGE_COUNT
_ROOM: Final = 16 << 20  # bytes: more than orjson needs for a piece, even one of control characters
_LENGTH: Final = struct.Struct("<I").unpack_from


def is_finite(flat: np.ndarray) -> bool:
    """Return whether JSON has a number for every element."""
    return flat.dtype.kind != "f" or bool(np.isfinite(flat).all())


def array_pieces(tensor: Tensor) -> Iterator[bytes]:
    """Yield the parts of the tensor's flat JSON array; raise INVALID_ARG if JSON cannot represent it.

    Of numbers, only FP16 and BF16 are refused, before the first part.
    """
    separator = b"["
    for piece in _pieces(tensor):
        yield separator
        yield piece[1:-1]
        separator = b","
    yield b"[]" if separator == b"[" else b"]"


def scalar_pieces(tensor: Tensor) -> list[bytes]:
    """Return the JSON of the only element of a large tensor."""
    return [piece[1:-1] for piece in _pieces(tensor)]


def _pieces(tensor: Tensor) -> Iterator[bytes]:
    """Yield the tensor as JSON arrays of a bounded size."""
    if tensor.datatype == "BYTES":
        for strings in _decoded_strings(tensor) if tensor.is_decoded else _raw_strings(tensor):
            yield _dumps_strings(strings)
        return
    refuse_halves(tensor)
    flat = np.ascontiguousarray(tensor.array).reshape(-1)
    starts = range(0, flat.size, _PIECE)
    dumps = numbers if all(is_finite(flat[start : start + _PIECE]) for start in starts) else tokens
    for start in starts:
        yield dumps(flat[start : start + _PIECE])


def _ensure_room() -> None:
    """Raise MemoryError if there is too little memory for a piece: orjson would end the process (SIGSEGV) instead.

    The bytes are never written, so this costs microseconds.
    """
    np.empty(_ROOM, np.uint8)


def _dumps_strings(strings: list[str]) -> bytes:
    _ensure_room()
    if sum(map(len, strings)) <= 4 * LARGE:
        return orjson.dumps(strings)
    return b"[%b]" % b",".join(map(_dumps_long, strings))


def _dumps_long(string: str) -> bytes:
    """Return the JSON of a long string; a part at a time, because escaping a string of line ends takes long."""
    parts = (orjson.dumps(string[start : start + LARGE])[1:-1] for start in range(0, len(string), LARGE))
    return b'"%b"' % b"".join(parts)


def numbers(flat: np.ndarray) -> bytes:
    """Return the JSON of an array of finite numbers."""
    if flat.size >= _PIECE:
        _ensure_room()
    return orjson.dumps(flat, option=orjson.OPT_SERIALIZE_NUMPY)


def tokens(flat: np.ndarray) -> bytes:
    """Return the JSON of an array that needs the tokens NaN and Infinity."""
    return json.dumps(flat.tolist(), separators=(",", ":")).encode()


def refuse_halves(tensor: Tensor) -> None:
    """Raise INVALID_ARG for the datatypes that Triton does not write as JSON."""
    if tensor.datatype in ("FP16", "BF16"):
        raise invalid(
            f"sending {tensor.datatype} data via JSON is not supported. Please use the binary data format for output "
            f"{tensor.name}"
        )


def not_utf8(tensor: Tensor) -> SlipwayError:
    """Return the error for an element that is not UTF-8."""
    return invalid(
        f"output '{tensor.name}' contains bytes that are not UTF-8. Please use the binary data format for output "
        f"{tensor.name}"
    )


def _decoded_strings(tensor: Tensor) -> Iterator[list[str]]:
    flat = tensor.array.ravel()
    for start in range(0, flat.size, _PIECE):
        yield texts_of(flat[start : start + _PIECE].tolist(), tensor)


def texts_of(elements: list[Any], tensor: Tensor) -> list[str]:
    """Return elements of a BYTES tensor as texts; raise INVALID_ARG for one that is not UTF-8."""
    try:
        return [element.decode() if isinstance(element, bytes) else str(element) for element in elements]
    except UnicodeDecodeError:
        raise not_utf8(tensor) from None


def _raw_strings(tensor: Tensor) -> Iterator[list[str]]:
    """Yield the elements as texts, a bounded number and size at a time."""
    raw = memoryview(tensor.raw)
    offset, end = 0, len(raw)
    try:
        while offset < end:
            strings: list[str] = []
            limit = offset + LARGE
            while offset < end and offset < limit and len(strings) < _PIECE:
                start = offset + 4
                offset = start + _LENGTH(raw, offset)[0]
                strings.append(str(raw[start:offset], "utf-8"))
            yield strings
    except UnicodeDecodeError:
        raise not_utf8(tensor) from None
