"""Protobuf's wire format without protobuf: finds the fields of a mapped file without copying a number.

One message of a LightSeq file may have gigabytes, which protobuf's own parser would copy several times. Format:
https://protobuf.dev/programming-guides/encoding. Knows field numbers and wire types, no schema.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

Buffer = bytes | mmap.mmap

VARINT: Final = 0
FIXED64: Final = 1
DELIMITED: Final = 2
FIXED32: Final = 5
NAMES: Final = {
    VARINT: "varint",
    FIXED64: "fixed64",
    DELIMITED: "length-delimited",
    3: "group",
    4: "group end",
    5: "fixed32",
}
_RUN_BLOCK: Final = 1 << 20  # unpacked floats examined in one step


class WireError(ValueError):
    """The bytes are not a protobuf message; `offset` is where that was detected."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class WireField:
    """One field in the file. `start` and `end` delimit its value.

    `repeats` and `stride` describe a run of fixed32 fields with the same tag: `repeats` values, `stride` bytes apart.
    """

    number: int
    wire_type: int
    tag_start: int
    start: int
    end: int
    value: int = 0  # of a varint
    repeats: int = 1
    stride: int = 0


def tokens(buffer: Buffer, start: int, end: int) -> Iterator[WireField]:
    """Yield the fields of the message in `buffer[start:end]` in order; raise `WireError` where it is damaged."""
    position = start
    while position < end:
        token = _token(buffer, position, end)
        yield token
        position = token.end


def varints(buffer: Buffer, start: int, end: int) -> Iterator[int]:
    """Yield the numbers of a packed repeated integer."""
    position = start
    while position < end:
        value, position = read_varint(buffer, position, end)
        yield value


def signed(value: int) -> int:
    """Return the int32 that a varint stands for: negative ones are written as 64 bits."""
    low = value & 0xFFFFFFFF
    return low - (1 << 32) if low >= 1 << 31 else low


def read_varint(buffer: Buffer, start: int, end: int) -> tuple[int, int]:
    """Return the varint at `start` and the place after it."""
    value = 0
    for index in range(10):
        position = start + index
        if position >= end:
            raise WireError("ends inside a number", position)
        byte = buffer[position]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position + 1
    raise WireError("a number has more than ten bytes", start)


def write_varint(value: int) -> bytes:
    """Return the bytes of a varint; a negative int32 takes ten."""
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def write_tag(number: int, wire_type: int) -> bytes:
    """Return the bytes that begin a field."""
    return write_varint(number << 3 | wire_type)


def _token(buffer: Buffer, position: int, end: int) -> WireField:
    tag, start = read_varint(buffer, position, end)
    number, wire_type = tag >> 3, tag & 7
    if number == 0 or number >= 1 << 29:
        raise WireError(f"{number} is not a valid field number", position)
    if wire_type == VARINT:
        value, after = read_varint(buffer, start, end)
        return WireField(number, wire_type, position, start, after, value)
    if wire_type == DELIMITED:
        length, start = read_varint(buffer, start, end)
        if start + length > end:
            raise WireError(
                f"field {number} should have {length} bytes, but {end - start} are left: the file is truncated",
                position,
            )
        return WireField(number, wire_type, position, start, start + length)
    if wire_type not in (FIXED32, FIXED64):
        raise WireError(f"field {number} has the unknown wire type {wire_type}", position)
    width = 4 if wire_type == FIXED32 else 8
    if start + width > end:
        raise WireError(f"field {number} ends inside a number: the file is truncated", position)
    if wire_type == FIXED64:
        return WireField(number, wire_type, position, start, start + width)
    stride = start - position + width
    repeats = _run_length(buffer, position, end, start - position, stride)
    return WireField(number, wire_type, position, start, position + repeats * stride, repeats=repeats, stride=stride)


def _run_length(buffer: Buffer, position: int, end: int, tag_size: int, stride: int) -> int:
    """Return how many consecutive fields have the tag at `position`, each `stride` bytes long."""
    most = (end - position) // stride
    tag = np.frombuffer(buffer, np.uint8, tag_size, position)
    run = 1
    while run < most:
        count = min(_RUN_BLOCK if run > 1 else 8, most - run)  # most runs have one field: examine few at first
        window = np.ndarray((count, tag_size), np.uint8, buffer, position + run * stride, (stride, 1))
        same = (window == tag).all(axis=1)
        if not same.all():
            return run + int(same.argmin())
        run += count
    return run


def read_float(buffer: Buffer, start: int) -> float:
    """Return the 32-bit float at `start`."""
    return float(struct.unpack_from("<f", buffer, start)[0])


def floats(buffer: Buffer, token: WireField) -> np.ndarray:
    """Return the floats of a packed or unpacked token as a view of the buffer, float32 [n]."""
    if token.wire_type == DELIMITED:
        return np.frombuffer(buffer, np.dtype("<f4"), (token.end - token.start) // 4, token.start)
    return np.ndarray((token.repeats,), np.dtype("<f4"), buffer, token.start, (token.stride,))
