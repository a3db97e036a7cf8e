"""Our own weight file of training: safetensors with tensor2tensor's array names, and a checksum of each array.

The checksums are in the header's metadata, under "crc32c", so every safetensors reader can read the file. Knows nothing
about what the arrays mean.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from slipway.checkpoints.huggingface.safetensors_file import open_safetensors
from slipway.checkpoints.tensor2tensor.atomic_file import atomic_file
from slipway.checkpoints.tensor2tensor.crc32c import crc32c
from slipway.errors import SlipwayError, invalid, not_found, shown
from slipway.foreign_json import parse_foreign
from slipway.transformer.weights import Array

_DTYPES: Final = {
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int32": "I32",
    "int64": "I64",
}
_CHECKSUMS: Final = "crc32c"
_ALIGNMENT: Final = 64  # of the numbers, in bytes


def write_weights(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the arrays to `path`, all or none: if the disk is full, raise UNAVAILABLE, and an earlier file stays."""
    entries: dict[str, Any] = {}
    checksums, at = {}, 0
    for name in sorted(arrays):
        data = _bytes_of(arrays[name])
        dtype = _DTYPES.get(arrays[name].dtype.name)
        if dtype is None:
            raise invalid(f"array '{name}' holds {arrays[name].dtype.name}, expected one of {', '.join(_DTYPES)}")
        entries[name] = {"dtype": dtype, "shape": list(arrays[name].shape), "data_offsets": [at, at + data.size]}
        checksums[name], at = crc32c(data), at + data.size
    metadata = {"format": "np", _CHECKSUMS: json.dumps(checksums)}
    header = json.dumps({"__metadata__": metadata, **entries}).encode()
    header += b" " * (-(len(header) + 8) % _ALIGNMENT)
    with atomic_file(path) as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for name in sorted(arrays):
            file.write(_bytes_of(arrays[name]).data)


def open_weights(path: Path) -> dict[str, Array]:
    """Return every array of the file, unread; reading one raises INVALID_ARG with its name if its checksum is wrong.

    Raise INVALID_ARG if the file is cut short or in another format. A file without checksums is read without them.
    """
    if not path.is_file():
        raise not_found(f"'{path}' does not exist")
    arrays = open_safetensors(path)
    with path.open("rb") as file:
        try:
            checksums = _checksums(file)
        except SlipwayError as error:
            raise invalid(f"'{path}': {error.message}") from None
    for name in arrays.keys() & checksums.keys():
        stored = arrays[name]
        arrays[name] = Array(stored.shape, partial(_checked, path, name, stored.read, checksums[name]))
    return arrays


def _checksums(file: BinaryIO) -> dict[str, int]:
    (size,) = struct.unpack("<Q", file.read(8))
    metadata = json.loads(file.read(size)).get("__metadata__")
    text = metadata.get(_CHECKSUMS, "{}") if isinstance(metadata, dict) else "{}"
    try:
        return {str(name): int(value) for name, value in parse_foreign(text, "the checksums in the header").items()}
    except (TypeError, ValueError, AttributeError, OverflowError):
        raise invalid(f"the checksums in the header are damaged: {shown(repr(text))}") from None


def _checked(path: Path, name: str, read: Callable[[], np.ndarray], checksum: int) -> np.ndarray:
    array = read()
    if crc32c(_bytes_of(array)) != checksum:
        raise invalid(f"array '{name}' in '{path}' has a wrong checksum: the file is damaged")
    return array


def _bytes_of(array: np.ndarray) -> np.ndarray:
    """Return the numbers as bytes, uint8 and read-only."""
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    data.flags.writeable = False
    return data
