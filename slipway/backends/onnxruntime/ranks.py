"""The inputs and outputs of an ONNX file that have no shape: onnxruntime reports them like scalars, as `[]`.

Reads the few fields it needs from the file's protobuf (onnx.proto: ModelProto.graph, GraphProto.input and output,
ValueInfoProto, TypeProto.Tensor.shape) and skips the weights, so the package `onnx` is not needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

_GRAPH: Final = 7
_VALUES: Final = (11, 12)  # input, output
_NAME, _TYPE, _TENSOR, _SHAPE = 1, 2, 1, 2
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def without_shape(path: Path) -> frozenset[str]:
    """Return the names of the tensors without a shape in the file; none if the file cannot be parsed."""
    try:
        with path.open("rb") as file:
            return frozenset(_names(file, path.stat().st_size))
    except (OSError, ValueError):  # onnxruntime's own format: its sessions know the ranks
        return frozenset()


def _names(file: BinaryIO, size: int) -> Iterator[str]:
    for number, end in _parts(file, size):
        if number != _GRAPH:
            continue
        for field, value_end in _parts(file, end):
            if field in _VALUES:
                name, has_shape = _value(file, value_end)
                if not has_shape:
                    yield name


def _value(file: BinaryIO, end: int) -> tuple[str, bool]:
    """Return the name of a value and whether its type is a tensor type with a shape."""
    name, has_shape = "", False
    for number, part_end in _parts(file, end):
        if number == _NAME:
            name = file.read(part_end - file.tell()).decode(errors="replace")
        elif number == _TYPE:
            for kind, kind_end in _parts(file, part_end):
                has_shape |= kind == _TENSOR and any(field == _SHAPE for field, _ in _parts(file, kind_end))
    return name, has_shape


def _parts(file: BinaryIO, end: int) -> Iterator[tuple[int, int]]:
    """Yield the number and the end of each message or text up to `end`, and continue after it."""
    while file.tell() < end:
        number, kind = divmod(_varint(file), 8)
        if kind == _VARINT:
            _varint(file)
        elif kind in (_FIXED64, _FIXED32):
            file.seek(8 if kind == _FIXED64 else 4, os.SEEK_CUR)
        elif kind == _LENGTH:
            part_end = _varint(file) + file.tell()
            if part_end > end:
                raise ValueError(f"a part ends at {part_end}, beyond {end}")
            yield number, part_end
            file.seek(part_end)
        else:
            raise ValueError(f"wire type {kind}")


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("the file ends too early")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("a number without an end")
