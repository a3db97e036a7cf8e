"""Decode JSON tensor data ("data": [...]) into numpy arrays.

Numbers go from the JSON text straight into numpy, in pieces, so 64 MiB of digits never become Python objects. Data that
is not simply an array of in-range numbers takes the exact path, which raises Triton's errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any, Final

import msgspec
import numpy as np

from slipway.core.large_work import LARGE
from slipway.core.tensor import CountedTensor, Tensor
from slipway.datatypes import BY_NAME, DataType
from slipway.errors import SlipwayError, internal, invalid, shown
from slipway.wire.json_strings import starts_with, wire_form
from slipway.wire.json_text import (
    MAX_DEPTH,
    MAX_UNSIGNED,
    NON_ARRAY,
    NON_BOOLEAN,
    NON_UNSIGNED,
    NOT_JSON,
    as_double,
    parse,
    too_deep,
    unparsable,
)
from slipway.wire.nesting import is_ragged

_MAX_SIZE: Final = 2**63 - 1
_DATA_DEPTH: Final = 3  # `data` is nested in the document, the inputs array and the input
_MAX_DIMS: Final = 32  # numpy 1.26's limit
_PIECE: Final = 128 << 10  # characters parsed at a time: a few milliseconds, in which other threads wait
_SPACE_AND_BRACKETS: Final = b"[] \t\r\n"
_INTEGER_TEXT: Final = b"0123456789-,"
_FLOAT_TEXT: Final = b"0123456789-,.eE+"
_MISMATCH: Final = "Shape does not match true shape of 'data' field"

_STRINGS: Final = msgspec.json.Decoder(list[str])

JsonData = msgspec.Raw | list[Any]


def decode_tensor(name: str, datatype: str, shape: tuple[int, ...], data: object) -> Tensor:
    """Return the tensor of a JSON `data` field (its text, or its parsed value); raise `SlipwayError` as Triton does."""
    if datatype in ("FP16", "BF16"):
        raise invalid(
            f"receiving {datatype} data via JSON is not supported. Please use the binary data format for input "
            f"{shown(name)}"
        )
    row = BY_NAME[datatype]
    count = element_count(name, shape, row.size)
    text = memoryview(data) if isinstance(data, msgspec.Raw) else None
    if text is not None and datatype == "BYTES" and len(text) > LARGE and starts_with(text, b"["):
        found = wire_form(text)
        if found is not None and found[1] == count:
            return CountedTensor(name, shape, memoryview(found[0]).toreadonly(), count)
    array = None if text is None else _from_text(text, row, count)
    if array is None:
        values = flatten(data if text is None else parse(text))
        if len(values) != count:
            raise unparsable("data", _MISMATCH)
        array = _from_values(values, row, name)
    return Tensor(name, datatype, shape, array=array.reshape(shape))


def element_count(name: str, shape: tuple[int, ...], element_size: int) -> int:
    """Return the product of the dimensions; raise INVALID_ARG if it or the byte size exceeds 2^63 - 1."""
    if len(shape) > _MAX_DIMS:  # before the product, whose cost grows with the square of their number
        raise invalid(f"input '{shown(name)}' has {len(shape)} dimensions, but at most {_MAX_DIMS} are supported")
    count = prod(shape)
    if shape and max(shape) > MAX_UNSIGNED:
        raise unparsable("shape", NON_UNSIGNED)
    if count > _MAX_SIZE:
        raise invalid(
            f"shape of input '{shown(name)}' causes total element count to exceed maximum size of {_MAX_SIZE}"
        )
    if count * element_size > _MAX_SIZE:
        raise invalid(f"byte size overflow for input '{shown(name)}'")
    return count


def flatten(value: object) -> list[Any]:
    """Return the leaves of nested lists in order; raise `SlipwayError` for a non-list, too many levels, or lists that
    differ in length or depth."""
    if not isinstance(value, list):
        raise unparsable("data", NON_ARRAY)
    depth = _DATA_DEPTH + 1
    while any(isinstance(item, list) for item in value):
        depth += 1
        if depth > MAX_DEPTH:
            raise too_deep()
        if len({len(item) if isinstance(item, list) else -1 for item in value}) > 1:
            raise unparsable("data", _MISMATCH)
        value = [leaf for item in value for leaf in item]
    return value


def count_numbers(text: memoryview) -> int:
    """Return how many elements a JSON array of numbers has: 0 for one of only brackets and spaces, -1 if it also has
    other elements, which may contain commas."""
    commas, is_empty = 0, True
    for start in range(0, len(text), _PIECE):
        piece = bytes(text[start : start + _PIECE])
        if b'"' in piece or b"{" in piece:
            return -1
        commas += piece.count(b",")
        is_empty = is_empty and not piece.strip(_SPACE_AND_BRACKETS)
    return 0 if is_empty else commas + 1


def _from_text(text: memoryview, row: DataType, count: int) -> np.ndarray | None:
    """Return the flat array of plain JSON data, or None if it needs the exact path."""
    if not starts_with(text, b"["):
        return None
    if row.name == "BYTES":
        return _from_strings(text, count) if len(text) <= LARGE else None
    brackets = _count_brackets(text)
    if brackets > MAX_DEPTH - _DATA_DEPTH:
        _check_depth(text)
    if 2 * count > len(text):
        return None
    array = np.empty(count, row.numpy)
    filled = 0
    for piece in _pieces(text):
        flat = piece.translate(None, _SPACE_AND_BRACKETS)
        if not flat:  # an empty array, or nothing between two commas
            return array if count == 0 and len(piece) == len(text) else None
        numbers = _from_digits(flat, row)
        if numbers is None or filled + numbers.size > count:
            return None
        with np.errstate(over="ignore"):  # 1e39 as FP32 is Infinity, as in Triton
            array[filled : filled + numbers.size] = numbers
        filled += numbers.size
    if filled != count:
        return None
    if brackets > 1 and is_ragged(text):
        raise unparsable("data", _MISMATCH)
    return array


def _count_brackets(text: memoryview) -> int:
    if len(text) <= _PIECE:
        return bytes(text).count(b"[")
    return sum(bytes(text[start : start + _PIECE]).count(b"[") for start in range(0, len(text), _PIECE))


def _from_strings(text: memoryview, count: int) -> np.ndarray | None:
    try:
        strings = _STRINGS.decode(text)
    except NOT_JSON:
        return None
    return _bytes_array([string.encode() for string in strings]) if len(strings) == count else None


def _pieces(text: memoryview) -> Iterator[bytes]:
    """Yield the text between commas, about `_PIECE` bytes at a time."""
    start, end = 0, len(text)
    size = _PIECE  # of the next piece
    while start + size < end:
        piece = bytes(text[start : start + size])
        cut = piece.rfind(b",")
        if cut < 0:  # spaces or brackets without end
            size *= 2
            continue
        yield piece[:cut]
        start += cut + 1
        size = _PIECE
    yield bytes(text[start:])


def _from_digits(flat: bytes, row: DataType) -> np.ndarray | None:
    """Return comma-separated numbers as an array of 64-bit numbers, or None if one does not fit the datatype."""
    if row.name == "BOOL":
        if flat.translate(None, b"truefals,"):
            return None
        flat = flat.replace(b"true", b"1").replace(b"false", b"0")
    elif flat.translate(None, _FLOAT_TEXT if row.numpy.kind == "f" else _INTEGER_TEXT):
        return None
    if b",," in flat or flat[:1] == b"," or flat[-1:] == b",":
        return None
    kind = row.numpy.kind
    wide = np.dtype(np.float64 if kind == "f" else np.uint64 if row.name == "UINT64" else np.int64)
    if row.name == "UINT64" and b"-" in flat:
        return None
    numbers = np.fromstring(flat, dtype=wide, sep=",")
    is_whole = numbers.size == flat.count(b",") + 1
    return numbers if is_whole and _fits(numbers, row) else None


def _fits(piece: np.ndarray, row: DataType) -> bool:
    """Return whether every number was read exactly; numpy saturates numbers beyond 64 bits, so the extreme values of
    64-bit types do not count as exact."""
    if row.numpy.kind == "f":
        return bool(np.isfinite(piece).all())
    if row.numpy.kind == "b":
        return True
    low, high = piece.min(), piece.max()
    limits = np.iinfo(row.numpy)
    if row.size == 8:
        return bool(high < limits.max and (row.name == "UINT64" or low > limits.min))
    return bool(low >= limits.min and high <= limits.max)


def _check_depth(text: memoryview) -> None:
    """Raise INVALID_ARG when numeric data is nested deeper than the limit."""
    allowed = MAX_DEPTH - _DATA_DEPTH
    depth = 0
    for start in range(0, len(text), _PIECE):
        codes = np.frombuffer(text[start : start + _PIECE], np.uint8)
        depths = depth + np.cumsum((codes == ord("[")).astype(np.int32) - (codes == ord("]")))
        if depths.max() > allowed:
            raise too_deep()
        depth = int(depths[-1])


def _from_values(values: list[Any], row: DataType, name: str) -> np.ndarray:
    kind = row.numpy.kind
    if kind == "O":
        return _bytes_array([_utf8(value) for value in values])
    if kind == "b":
        _require(values, (bool,), NON_BOOLEAN)
    elif kind == "f":
        _require(values, (int, float), "attempt to access JSON non-number as double")
        with np.errstate(over="ignore"):
            return np.array([as_double(value) for value in values], np.float64).astype(row.numpy)
    else:
        _check_integers(values, row, name)
    return np.array(values, row.numpy)


def _require(values: list[Any], types: tuple[type, ...], reason: str) -> None:
    for value in values:
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise unparsable("data", reason)


def _check_integers(values: list[Any], row: DataType, name: str) -> None:
    signed = row.numpy.kind == "i"
    low, high = (-(2**63), 2**63 - 1) if signed else (0, 2**64 - 1)
    reason = "attempt to access JSON non-signed-integer as signed-integer" if signed else NON_UNSIGNED
    limits = np.iinfo(row.numpy)
    for value in values:
        if type(value) is not int or not low <= value <= high:
            raise unparsable("data", reason)
        if not limits.min <= value <= limits.max:  # Triton wraps these silently
            raise _out_of_range(value, row, name)


def _out_of_range(value: int, row: DataType, name: str) -> SlipwayError:
    limits = np.iinfo(row.numpy)
    return invalid(
        f"Unable to parse 'data': {value} is out of range for input '{shown(name)}' of data-type {row.name}, "
        f"which ranges from {limits.min} to {limits.max}"
    )


def _utf8(value: object) -> bytes:
    if not isinstance(value, str):
        raise internal("Unable to parse JSON bytes array: attempt to access JSON non-string as string")
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise internal("failed to parse the request JSON buffer: The surrogate pair in string is invalid.") from None


def _bytes_array(elements: list[bytes]) -> np.ndarray:
    array = np.empty(len(elements), np.object_)
    array[:] = elements
    return array
