"""Find a key that appears twice in a JSON object.

Parsers silently keep one of the two, and not all of them the same one, so a request that one program has checked may
mean something else to the next. Scans only text that has already been parsed as JSON.
"""

from __future__ import annotations

import json
import re
from typing import Final

from slipway.errors import SlipwayError, invalid, shown
from slipway.wire.json_escapes import part_of

# Strings (with the colon that makes one a key) and braces, each with what follows; everything else is mostly numbers.
# No token takes more than 64 KiB outside strings, because a search holds the interpreter lock until it finds one. White
# space that is longer than that may still end in the colon of a key, in a later token.
_TOKENS: Final = re.compile(
    rb'("[^"]*+")(\s{0,65535}+(?::|(?=\s)))?[^"{}]{0,65535}+|([{}])[^"{}]{0,65535}+|[^"{}]{1,65535}+'
)
_STRING, _KEY, _BRACE = 1, 2, 3  # the last group of a token
_BACKSLASH, _QUOTE = b"\xfe", b"\xff"  # stand for escaped ones; UTF-8 has no such bytes
_PIECE: Final = 256 << 10  # bytes copied at a time


def count_colons(text: bytes | bytearray | memoryview) -> int:
    """Return the number of colons: if a document has as many as keys that were read, no key appears twice."""
    if len(text) <= _PIECE:  # nearly always, so without a generator
        return bytes(text).count(b":")
    return sum(bytes(text[start : start + _PIECE]).count(b":") for start in range(0, len(text), _PIECE))


def duplicate_key(text: bytes | bytearray | memoryview) -> str | None:
    """Return the first key that appears twice in one object of a JSON document, or None."""
    objects: list[set[bytes]] = []
    string = b""  # the last one, while only white space has followed it
    for token in _TOKENS.finditer(_without_quotes(text)):
        kind = token.lastindex
        if kind == _STRING or (kind is None and not string):
            continue
        if kind == _BRACE:
            if token[_BRACE] == b"{":
                objects.append(set())
            else:
                objects.pop()
            continue
        if kind == _KEY:
            string = token[_STRING]
        following = token[0].removeprefix(string).lstrip()
        if not following:
            continue
        if following.startswith(b":"):
            key = _canonical(string)
            if key in objects[-1]:
                return str(json.loads(key.decode(errors="replace")))
            objects[-1].add(key)
        string = b""
    return None


def _canonical(key: bytes) -> bytes:
    """Return the one spelling of a key that may have escape sequences."""
    if b"\\" in key or _BACKSLASH in key or _QUOTE in key:
        escaped = key.replace(_BACKSLASH, b"\\\\").replace(_QUOTE, b'\\"')
        name = json.loads(escaped.decode(errors="surrogateescape"))
        return json.dumps(name, ensure_ascii=False).encode(errors="surrogatepass")
    return key


def _without_quotes(text: bytes | bytearray | memoryview) -> bytes:
    """Return the document without quotes and backslashes inside its strings, so that the end of one is found at once.

    A string of millions of escapes takes an expression that knows them a second, in which no other thread runs.
    """
    parts = []
    start, end = 0, len(text)
    while start < end:
        part = part_of(text, start, end, _PIECE)
        start += len(part)
        if b"\\" in part:
            part = part.replace(b"\\\\", _BACKSLASH).replace(b'\\"', _QUOTE)
        parts.append(part)
    return b"".join(parts)


def refuse_duplicate_keys(text: bytes | bytearray | memoryview) -> None:
    """Raise INVALID_ARG naming a key that appears twice in one object of `text`."""
    key = duplicate_key(text)
    if key is not None:
        raise given_twice(key)


def given_twice(key: str) -> SlipwayError:
    """Return the error for a key that appears twice in an object."""
    return invalid(f"failed to parse the request JSON buffer: the key '{shown(key)}' is given twice in one object")
