"""The wire form of BYTES tensors: each element is a 4-byte little-endian length and that many bytes.

Source: KServe v2 "binary tensor data extension". `count_elements` validates without copying, so a wrong length prefix
costs only the scan.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

_LENGTH = struct.Struct("<I")


class TruncatedElementError(ValueError):
    """The buffer ends inside a length prefix (`in_length`) or an element: `available` of the `needed` bytes remain."""

    def __init__(self, needed: int, available: int, *, in_length: bool) -> None:
        super().__init__("incomplete string length indicator" if in_length else "incomplete string data")
        self.in_length = in_length
        self.needed = needed
        self.available = available


def encode_bytes(elements: Iterable[object]) -> bytes:
    """Return the wire form of `elements`; `str` is encoded as UTF-8, other objects as their `str()`."""
    parts: list[bytes] = []
    for element in elements:
        value = bytes(element) if isinstance(element, bytes) else str(element).encode()
        parts.append(_LENGTH.pack(len(value)))
        parts.append(value)
    return b"".join(parts)


def count_elements(raw: bytes | memoryview) -> int:
    """Return the number of elements in `raw`; raise `TruncatedElementError` if it is truncated."""
    offset, end, count, size = 0, len(raw), 0, 0
    unpack = _LENGTH.unpack_from
    while offset < end:
        if end - offset < 4:
            raise TruncatedElementError(4, end - offset, in_length=True)
        size = unpack(raw, offset)[0]
        offset += 4 + size
        count += 1
    if offset > end:
        raise TruncatedElementError(size, end - offset + size, in_length=False)
    return count


def decode_bytes(raw: bytes | memoryview) -> list[bytes]:
    """Return the elements of `raw`; raise `TruncatedElementError` if it is truncated."""
    offset, end = 0, len(raw)
    elements: list[bytes] = []
    unpack = _LENGTH.unpack_from
    while offset < end:
        if end - offset < 4:
            raise TruncatedElementError(4, end - offset, in_length=True)
        start = offset + 4
        offset = start + unpack(raw, offset)[0]
        if offset > end:
            raise TruncatedElementError(offset - start, end - start, in_length=False)
        elements.append(bytes(raw[start:offset]))
    return elements
