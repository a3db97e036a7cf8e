"""One .safetensors file, mapped: an array costs no memory until it is read, and then only page cache.

The format: eight bytes of header length (little endian), a JSON header {name: {dtype, shape, data_offsets}}, the
numbers. It is read here because the `safetensors` package cannot read bfloat16 into numpy.
"""

from __future__ import annotations

import json
import math
import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import ml_dtypes
import numpy as np

from slipway.errors import SlipwayError, invalid, shown
from slipway.foreign_json import parse_foreign
from slipway.transformer.weights import Array

_DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
_LARGEST_HEADER: Final = 100_000_000  # the limit of the format's own library
_LENGTH_BYTES: Final = 8
_LARGEST_NUMBER: Final = 1 << 62  # bytes or elements: no file has more
_MOST_DIMENSIONS: Final = 32


def open_safetensors(path: Path) -> dict[str, Array]:
    """Return every array of the file, unread; raise INVALID_ARG when the file is truncated or in another format."""
    with path.open("rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise invalid(f"'{path.name}' is empty") from None
    header, start = _header(path, data)
    arrays, problems = {}, []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            arrays[name] = _array(data, start, entry)
        except SlipwayError as error:
            problems.append(f"{name}: {error.message}")
    if problems:
        raise invalid(f"'{path.name}' is damaged:\n  " + "\n  ".join(problems))
    return arrays


def write_safetensors(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays to a new file, with one of them in memory at a time; raise `SlipwayError` for a type that the format
    lacks."""
    names = {dtype: name for name, dtype in _DTYPES.items()}
    header: dict[str, Any] = {}
    end = 0
    for name, array in arrays.items():
        dtype = array.read().dtype  # of a mapped file: nothing is copied
        if dtype not in names:
            raise invalid(f"{name}: numbers of type {dtype} are not supported, only {', '.join(_DTYPES)}")
        begin, end = end, end + math.prod(array.shape) * dtype.itemsize
        header[name] = {"dtype": names[dtype], "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)  # so that the numbers are aligned
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array.read()).view(np.uint8).data)


def _header(path: Path, data: mmap.mmap) -> tuple[dict[str, Any], int]:
    """Return the header and the offset at which the numbers begin."""
    size = struct.unpack("<Q", data[:_LENGTH_BYTES])[0] if len(data) >= _LENGTH_BYTES else 0
    if not 2 <= size <= min(_LARGEST_HEADER, len(data) - _LENGTH_BYTES):
        raise invalid(f"'{path.name}' is not a safetensors file: a header of {size} bytes in a file of {len(data)}")
    header = parse_foreign(data[_LENGTH_BYTES : _LENGTH_BYTES + size], f"'{path.name}' is not a safetensors file")
    if not isinstance(header, dict):
        raise invalid(f"'{path.name}' is not a safetensors file: its header is not a JSON object")
    return header, _LENGTH_BYTES + size


def _array(data: mmap.mmap, start: int, entry: Any) -> Array:
    try:
        dtype, shape, (begin, end) = str(entry["dtype"]), tuple(entry["shape"]), entry["data_offsets"]
    except (KeyError, TypeError, ValueError):
        raise invalid(f"its header entry {shown(repr(entry))} is malformed") from None
    if not all(type(number) is int and 0 <= number < _LARGEST_NUMBER for number in (*shape, begin, end)):
        raise invalid(f"its header entry {shown(repr(entry))} has a size that is not a whole number of 0 or more")
    if dtype not in _DTYPES:
        raise invalid(f"numbers of type {shown(dtype)} are not supported, only {', '.join(_DTYPES)}")
    if len(shape) > _MOST_DIMENSIONS:
        raise invalid(f"it has {len(shape)} dimensions, more than {_MOST_DIMENSIONS}")
    count = math.prod(shape)
    if end - begin != count * _DTYPES[dtype].itemsize:
        raise invalid(f"{end - begin} bytes for {dtype} {list(shape)}, expected {count * _DTYPES[dtype].itemsize}")
    if start + end > len(data):
        raise invalid(f"it ends at byte {start + end} of a file of {len(data)}: the file is incomplete")

    def read() -> np.ndarray:
        return np.frombuffer(data, _DTYPES[dtype], count, start + begin).reshape(shape)

    return Array(shape, read)
