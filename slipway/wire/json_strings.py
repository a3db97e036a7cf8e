"""Turn a JSON array of strings into the wire form of a BYTES tensor, in pieces: a string costs four bytes more than its
text, where a Python object would cost fifty, and no piece takes longer than a few milliseconds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import msgspec

from slipway.wire.json_text import NOT_JSON

_STRINGS: Final = msgspec.json.Decoder(list[str])
_STRING: Final = msgspec.json.Decoder(str)
_PIECE: Final = 64 << 10  # bytes of JSON decoded at a time: up to 20 000 strings
_LENGTH: Final = struct.Struct("<I").pack


def wire_form(text: memoryview) -> tuple[bytearray, int] | None:
    """Return the wire form and the number of strings of a valid JSON value; None unless it is a string or an array of
    strings."""
    if starts_with(text, b'"'):
        element = _STRING.decode(text).encode()
        return bytearray().join((_LENGTH(len(element)), element)), 1
    if not starts_with(text, b"["):
        return None
    raw, count = bytearray(), 0
    for piece in _pieces(text):
        try:
            strings = _STRINGS.decode(piece)
        except NOT_JSON:
            return None
        count += len(strings)
        for string in strings:
            element = string.encode()
            raw += _LENGTH(len(element))
            raw += element
    return raw, count


def starts_with(text: memoryview, first: bytes) -> bool:
    """Return whether the first byte of a JSON value is `first`."""
    return len(text) > 0 and text[0] == first[0]


def _pieces(text: memoryview) -> Iterator[bytes]:
    """Yield the array as arrays of a bounded size; one that is not an array of strings may be cut anywhere."""
    start, end = 1, len(text)
    while start < end:
        stop = end
        size = _PIECE
        while start + size < end:
            cut = _last_separator(bytes(text[start : start + size]))
            if cut > 0:
                stop = start + cut
                break
            size *= 2  # a long string
        closing = b"" if stop == end else b"]"  # the last piece has the array's own
        yield b"".join((b"[", text[start:stop], closing))
        start = stop + 1


def _last_separator(piece: bytes) -> int:
    """Return where the last comma between two strings is; -1 if there is none. `piece` starts outside of strings."""
    if b"\\" in piece:  # hide escaped quotes, keeping positions
        piece = piece.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    last = piece.rfind(b'"')
    if last < 0:
        return -1
    if piece.count(b'"') % 2:  # it opens a string that is not complete
        return piece.rfind(b",", 0, last)
    after = piece.find(b",", last)
    if after >= 0:
        return after
    return piece.rfind(b",", 0, piece.rfind(b'"', 0, last))
