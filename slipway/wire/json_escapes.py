"""Cut the text of a JSON string into parts that mean the same as the whole: no escape sequence, surrogate pair or UTF-8
character is divided."""

from __future__ import annotations

import re
from typing import Final

_LONGEST: Final = 6  # bytes of an escape sequence
_HIGH_SURROGATE: Final = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\Z")


def part_of(text: bytes | bytearray | memoryview, start: int, end: int, size: int) -> bytes:
    """Return at least `size` bytes of `text` from `start`, at most up to `end`; `start` must not divide anything."""
    part = bytes(text[start : min(start + size, end)])
    stop = start + len(part)
    while stop < end and (missing := _missing(part, text[stop])):
        added = bytes(text[stop : min(stop + missing, end)])
        part += added
        stop += len(added)
    return part


def _missing(part: bytes, following: int) -> int:
    """Return how many bytes are surely missing of what the end of `part` divides, 0 if it divides nothing."""
    if following & 0xC0 == 0x80:  # the rest of a character
        return 1
    last = part.rfind(b"\\", max(0, len(part) - _LONGEST))
    if last < 0:
        return 0
    run = last + 1 - len(part[: last + 1].rstrip(b"\\"))
    if run % 2 == 0:  # escaped backslashes
        return 0
    size = _LONGEST if part[last + 1 : last + 2] == b"u" else 2
    if last + size > len(part):
        return last + size - len(part)
    return 2 if _HIGH_SURROGATE.search(part, last) else 0  # the other half follows, or it is an error


def without_quotes(part: bytes) -> bytes:
    """Return the part with escaped quotes and backslashes hidden, each position kept."""
    return part.replace(b"\\\\", b"__").replace(b'\\"', b"__") if b"\\" in part else part
