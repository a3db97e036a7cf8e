"""Find the raw tensor contents of a serialised ModelInferRequest without copying them.

The protobuf library copies every bytes field twice (into the message, and out of it on each access); for a tensor of
64 MB the copies take most of the request's time. This scan reads only the top-level fields and returns None for
anything unusual: the library then parses the whole message and reports any error.
Source: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_RAW_INPUT_CONTENTS: Final = (7 << 3) | 2
_FIXED_SIZES: Final = {1: 8, 5: 4}  # wire type -> bytes
# The library is faster on a message of a million tiny fields.
_MAX_FIELDS: Final = 4096


def split_raw_contents(payload: bytes) -> tuple[bytes, list[memoryview]] | None:
    """Return the message without its raw_input_contents, and these as views; None if the library has to parse it."""
    view = memoryview(payload)
    kept: list[memoryview] = []
    raws: list[memoryview] = []
    offset, end = 0, len(payload)
    try:
        while offset < end:
            start = offset
            tag, offset = varint(payload, offset)
            wire_type = tag & 7
            if wire_type == 2:
                size, offset = varint(payload, offset)
                stop = offset + size
            elif wire_type == 0:
                stop = varint(payload, offset)[1]
            else:
                stop = offset + _FIXED_SIZES[wire_type]
            if stop > end or len(kept) + len(raws) == _MAX_FIELDS:
                return None
            if tag == _RAW_INPUT_CONTENTS:
                raws.append(view[offset:stop])
            else:
                kept.append(view[start:stop])
            offset = stop
    except (IndexError, KeyError):  # a truncated number; a wire type that proto3 does not use
        return None
    return b"".join(kept), raws


def fields(payload: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield the fields of a message: tag, start, start of the value, end. Raise IndexError, KeyError or ValueError for
    anything unusual, and for more fields than a scan in Python should read."""
    for _ in range(_MAX_FIELDS):
        if start >= end:
            return
        tag, value = varint(payload, start)
        wire_type = tag & 7
        if wire_type == 2:
            size, value = varint(payload, value)
            stop = value + size
        elif wire_type == 0:
            stop = varint(payload, value)[1]
        else:
            stop = value + _FIXED_SIZES[wire_type]
        if stop > end:
            raise ValueError
        yield tag, start, value, stop
        start = stop
    if start < end:
        raise ValueError


def varint(payload: bytes | memoryview, offset: int) -> tuple[int, int]:
    """Return the number at `offset` and where it ends; raise IndexError if it is truncated or too long."""
    value = payload[offset]
    offset += 1
    if value < 0x80:
        return value, offset
    value &= 0x7F
    for shift in range(7, 70, 7):
        byte = payload[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset
    raise IndexError
