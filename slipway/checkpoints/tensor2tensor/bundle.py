"""TensorFlow's V2 checkpoints ("bundles") without TensorFlow: the index, and the arrays in the mapped data files.

`PREFIX.index` is a table (table_file.py) from an array's name to its datatype, shape and place;
`PREFIX.data-0000i-of-0000n` are the numbers, little-endian (tensorflow/core/util/tensor_bundle). Each array's checksum
is compared when it is read. Knows nothing about what the arrays mean.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Final

import ml_dtypes
import numpy as np

from slipway.checkpoints.tensor2tensor.crc32c import masked_crc32c
from slipway.checkpoints.tensor2tensor.messages import parse_message
from slipway.checkpoints.tensor2tensor.table_file import read_table
from slipway.errors import SlipwayError, invalid, not_found, shown, unsupported
from slipway.transformer.weights import Array, Shape

# tensorflow/core/framework/types.proto
_DTYPES: Final[Mapping[int, np.dtype[Any]]] = {
    1: np.dtype("<f4"),
    2: np.dtype("<f8"),
    3: np.dtype("<i4"),
    9: np.dtype("<i8"),
    14: np.dtype(ml_dtypes.bfloat16),
    19: np.dtype("<f2"),
}
_NAMES: Final = {7: "string", 10: "bool", 20: "resource", 21: "variant"}
_MAX_SHARDS: Final = 100_000
_MOST_DIMENSIONS: Final = 32
_MOST_VALUES: Final = 1 << 48  # also of an array that has none because one of its sizes is 0
_HEADER: Final = b""  # the key of the header


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an array is, and how many values of which type it has."""

    dtype: np.dtype[Any]
    shape: Shape
    shard: int
    offset: int
    size: int
    checksum: int


class _DataFile:
    """One data file, mapped when an array in it is first read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def mapped(self) -> np.ndarray:
        """The bytes, uint8, read-only."""
        try:
            with self.path.open("rb") as file:
                if self.size() == 0:
                    return np.frombuffer(b"", np.uint8)
                return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
        except OSError as error:
            raise invalid(f"'{self.path}' cannot be read: {error.strerror}") from None

    def size(self) -> int:
        """The size in bytes; raise NOT_FOUND if there is no such file."""
        try:
            return self.path.stat().st_size
        except OSError as error:
            raise not_found(f"'{self.path}' cannot be read: {error.strerror}") from None


def open_bundle(prefix: Path) -> dict[str, Array]:
    """Return every array of the bundle `PREFIX.index`, unread.

    Raise NOT_FOUND if a file is missing, and INVALID_ARG naming every array whose entry is damaged or that the data
    files are too short for. Reading an array raises INVALID_ARG with its name if its checksum is wrong.
    """
    index = prefix.with_name(f"{prefix.name}.index")
    entries = read_table(index)
    try:
        shards = _shards(entries.pop(_HEADER, None))
    except SlipwayError as error:
        raise SlipwayError(error.code, f"'{index}': {error.message}") from None
    files = [_DataFile(prefix.with_name(f"{prefix.name}.data-{i:05}-of-{shards:05}")) for i in range(shards)]
    sizes = [file.size() for file in files]
    arrays: dict[str, Array] = {}
    problems = []
    for key, value in entries.items():
        name = key.decode(errors="backslashreplace")
        try:
            arrays[name] = _array(name, parse_message("BundleEntry", value), files, sizes)
        except SlipwayError as error:
            problems.append(f"{name}: {error.message}")
    if problems:
        raise invalid(f"'{index}' is damaged:\n  " + "\n  ".join(problems))
    return arrays


def _shards(header: bytes | None) -> int:
    if header is None:
        raise invalid("the table does not have a bundle's header: it is not the index of a checkpoint")
    message = parse_message("BundleHeader", header)
    if message.endianness != 0:
        raise unsupported("the checkpoint was written on a big-endian machine")
    if not 1 <= message.num_shards <= _MAX_SHARDS:
        raise invalid(f"the header names {message.num_shards} data files")
    return int(message.num_shards)


def _array(name: str, entry: Any, files: list[_DataFile], sizes: list[int]) -> Array:
    shape = tuple(int(each.size) for each in entry.shape.dim)
    problem = _unreadable(entry)
    if problem:
        return Array(shape, lambda: _refuse(name, problem))
    place = _Place(_DTYPES[entry.dtype], shape, entry.shard_id, entry.offset, entry.size, entry.crc32c)
    if not 0 <= place.shard < len(files):
        raise invalid(f"data file {place.shard} of {len(files)} does not exist")
    if min(shape, default=0) < 0 or place.size != prod(shape) * place.dtype.itemsize:
        raise invalid(f"{place.size} bytes for {place.dtype.name} {shown(list(shape))}")
    if len(shape) > _MOST_DIMENSIONS or prod(max(size, 1) for size in shape) > _MOST_VALUES:
        raise invalid(f"the shape {shown(list(shape))} is not that of an array")
    if place.offset < 0 or place.offset + place.size > sizes[place.shard]:
        path = files[place.shard].path
        raise invalid(
            f"it ends at byte {place.offset + place.size} of '{path.name}', which has {sizes[place.shard]}: the file "
            "is cut short"
        )
    return Array(shape, lambda: _read(name, place, files[place.shard]))


def _unreadable(entry: Any) -> str:
    """Return why an array cannot be read, "" if it can; the step counters of some programs are such."""
    if entry.slices:
        return "it is stored in slices (a partitioned variable)"
    if entry.shape.unknown_rank:
        return "its shape is unknown"
    if entry.dtype not in _DTYPES:
        supported = ", ".join(dtype.name for dtype in _DTYPES.values())
        return f"its type is {_NAMES.get(entry.dtype, entry.dtype)}, expected one of {supported}"
    return ""


def _refuse(name: str, problem: str) -> np.ndarray:
    raise unsupported(f"array '{name}' cannot be read: {problem}")


def _read(name: str, place: _Place, file: _DataFile) -> np.ndarray:
    """Return a view of the mapped file, after its checksum was compared."""
    data = file.mapped[place.offset : place.offset + place.size]
    if data.size != place.size or masked_crc32c(data) != place.checksum:
        raise invalid(f"array '{name}' in '{file.path}' has a wrong checksum: the file is damaged")
    return data.view(place.dtype).reshape(place.shape)
