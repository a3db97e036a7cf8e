"""Turn a JSON array of strings into the wire form of a BYTES tensor, in pieces: a string costs four bytes more than its
text, where a Python object would cost fifty, and no piece takes longer than a few milliseconds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import msgspec

from slipway.wire.json_escapes import part_of, without_quotes
from slipway.wire.json_text import NOT_JSON

_STRINGS: Final = msgspec.json.Decoder(list[str])
_STRING: Final = msgspec.json.Decoder(str)
_PIECE: Final = 64 << 10  # bytes of JSON decoded at a time: up to 20 000 strings
_LONG: Final = 4 * _PIECE
_SPACES: Final = b" \t\r\n"
_LENGTH: Final = struct.Struct("<I").pack


def wire_form(text: memoryview) -> tuple[bytearray, int] | None:
    """Return the wire form and the number of strings of a valid JSON value; None unless it is a string or an array of
    strings."""
    raw = bytearray()
    try:
        if starts_with(text, b'"'):
            _add_long(raw, text[1 : _closing_quote(text, 1)])
            return raw, 1
        return (raw, _add_array(raw, text)) if starts_with(text, b"[") else None
    except NOT_JSON:  # something else in the array, or half of a surrogate pair
        return None


def _add_array(raw: bytearray, text: memoryview) -> int:
    """Add the strings of an array to `raw`; return their number."""
    count = 0
    for piece in _pieces(text):
        if isinstance(piece, memoryview):
            _add_long(raw, piece)
            count += 1
            continue
        strings = _STRINGS.decode(piece)
        count += len(strings)
        for string in strings:
            element = string.encode()
            raw += _LENGTH(len(element))
            raw += element
    return count


def _add_long(raw: bytearray, content: memoryview) -> None:
    """Add the string between two quotes to `raw`, a part at a time."""
    place = len(raw)
    raw += _LENGTH(0)
    start, end = 0, len(content)
    while start < end:
        part = part_of(content, start, end, _PIECE)
        start += len(part)
        raw += _STRING.decode(b'"%b"' % part).encode()
    raw[place : place + 4] = _LENGTH(len(raw) - place - 4)


def starts_with(text: memoryview, first: bytes) -> bool:
    """Return whether the first byte of a JSON value is `first`."""
    return len(text) > 0 and text[0] == first[0]


def _pieces(text: memoryview) -> Iterator[bytes | memoryview]:
    """Yield the array as arrays of a bounded size, and its long strings as what is between their quotes.

    An array of something else may be cut anywhere.
    """
    start, end = 1, len(text)
    size = _PIECE
    while start + size < end:
        piece = bytes(text[start : start + size])
        cut = _last_separator(piece)
        if cut > 0:
            yield b"[%b]" % piece[:cut]
            start += cut + 1
            size = _PIECE
        elif size < _LONG:
            size *= 2
        elif piece.lstrip()[:1] == b'"':
            begin = start + piece.index(b'"') + 1
            closing = _closing_quote(text, begin)
            yield text[begin:closing]
            start = closing + 1
            while text[start] in _SPACES:
                start += 1
            start += 1  # a comma, or the end of the array
            size = _PIECE
        else:
            break  # spaces, or not a string
    if start < end:
        yield b"[%b" % bytes(text[start:])  # the end of the array included


def _closing_quote(text: memoryview, start: int) -> int:
    """Return where the string ends whose content begins at `start`."""
    end = len(text)
    while start < end:
        part = part_of(text, start, end, _PIECE)
        quote = without_quotes(part).find(b'"')
        if quote >= 0:
            return start + quote
        start += len(part)
    return end


def _last_separator(piece: bytes) -> int:
    """Return where the last comma between two strings is; -1 if there is none. `piece` starts outside of strings."""
    piece = without_quotes(piece)
    last = piece.rfind(b'"')
    if last < 0:
        return -1
    if piece.count(b'"') % 2:  # it opens a string that is not complete
        return piece.rfind(b",", 0, last)
    after = piece.find(b",", last)
    if after >= 0:
        return after
    return piece.rfind(b",", 0, piece.rfind(b'"', 0, last))
