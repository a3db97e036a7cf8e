"""The parts of a protobuf message in a file, without the package `onnx` and without reading what is skipped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO, Final

GRAPH: Final = 7  # ModelProto.graph (onnx.proto)
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def parts(file: BinaryIO, end: int) -> Iterator[tuple[int, int]]:
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
