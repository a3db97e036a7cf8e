"""The inputs and outputs of an ONNX file that have no shape: onnxruntime reports them like scalars, as `[]`.

Reads the few fields it needs from the file's protobuf (onnx.proto: ModelProto.graph, GraphProto.input and output,
ValueInfoProto, TypeProto.Tensor.shape) and skips the weights, so the package `onnx` is not needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from slipway.backends.onnxruntime.message_parts import GRAPH, parts

_VALUES: Final = (11, 12)  # input, output
_NAME, _TYPE, _TENSOR, _SHAPE = 1, 2, 1, 2


def without_shape(path: Path) -> frozenset[str]:
    """Return the names of the tensors without a shape in the file; none if the file cannot be parsed."""
    try:
        with path.open("rb") as file:
            return frozenset(_names(file, path.stat().st_size))
    except (OSError, ValueError):  # onnxruntime's own format: its sessions know the ranks
        return frozenset()


def _names(file: BinaryIO, size: int) -> Iterator[str]:
    for number, end in parts(file, size):
        if number != GRAPH:
            continue
        for field, value_end in parts(file, end):
            if field in _VALUES:
                name, has_shape = _value(file, value_end)
                if not has_shape:
                    yield name


def _value(file: BinaryIO, end: int) -> tuple[str, bool]:
    """Return the name of a value and whether its type is a tensor type with a shape."""
    name, has_shape = "", False
    for number, part_end in parts(file, end):
        if number == _NAME:
            name = file.read(part_end - file.tell()).decode(errors="replace")
        elif number == _TYPE:
            for kind, kind_end in parts(file, part_end):
                has_shape |= kind == _TENSOR and any(field == _SHAPE for field, _ in parts(file, kind_end))
    return name, has_shape
