"""Find a key that appears twice in a JSON object.

Parsers silently keep one of the two, and not all of them the same one, so a request that one program has checked may
mean something else to the next. Scans only text that has already been parsed as JSON.
"""

from __future__ import annotations

import json
import re
from typing import Final

from slipway.core.large_work import LARGE
from slipway.errors import SlipwayError, invalid, shown
from slipway.wire.json_escapes import part_of

# Strings (with the colon that makes one a key) and braces; everything else, mostly numbers, is skipped.
# Possessive, so that a string of escapes does not fill the matcher's memory.
_TOKENS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"(\s*+:)?|[{}]', re.DOTALL)
_PLAIN_TOKENS: Final = re.compile(rb'"[^"]*+"(\s*+:)?|[{}]')  # where strings contain no quotes
_QUOTE_CODES: Final = re.compile(rb"\\u00(?:22|5[cC])")
_PIECE: Final = 256 << 10  # bytes copied at a time


def count_colons(text: bytes | bytearray | memoryview) -> int:
    """Return the number of colons: if a document has as many as keys that were read, no key appears twice."""
    if len(text) <= _PIECE:  # nearly always, so without a generator
        return bytes(text).count(b":")
    return sum(bytes(text[start : start + _PIECE]).count(b":") for start in range(0, len(text), _PIECE))


def duplicate_key(text: bytes | bytearray | memoryview) -> str | None:
    """Return the first key that appears twice in one object of a JSON document, or None."""
    if len(text) > LARGE and _scan(_PLAIN_TOKENS, _without_quotes(text)) is None:
        return None  # keys that differ in other characters than quotes and backslashes
    return _scan(_TOKENS, text)


def _without_quotes(text: bytes | bytearray | memoryview) -> bytes:
    """Return the document without quotes and backslashes inside its strings, so that one is found at once.

    A string of millions of escapes takes the full expression a second, in which no other thread runs.
    """
    parts = []
    start, end = 0, len(text)
    while start < end:
        part = part_of(text, start, end, _PIECE)
        start += len(part)
        if b"\\" in part:
            part = _QUOTE_CODES.sub(b"", part.replace(b"\\\\", b"").replace(b'\\"', b""))
        parts.append(part)
    return b"".join(parts)


def _scan(tokens: re.Pattern[bytes], text: bytes | bytearray | memoryview) -> str | None:
    objects: list[set[bytes]] = []
    for token in tokens.finditer(text):
        if token[1] is not None:
            key = token[0][: -len(token[1])]
            if b"\\" in key:
                key = json.dumps(json.loads(key), ensure_ascii=False).encode(errors="surrogatepass")
            if key in objects[-1]:
                return str(json.loads(key))
            objects[-1].add(key)
        elif token[0] == b"{":
            objects.append(set())
        elif token[0] == b"}":
            objects.pop()
    return None


def refuse_duplicate_keys(text: bytes | bytearray | memoryview) -> None:
    """Raise INVALID_ARG naming a key that appears twice in one object of `text`."""
    key = duplicate_key(text)
    if key is not None:
        raise given_twice(key)


def given_twice(key: str) -> SlipwayError:
    """Return the error for a key that appears twice in an object."""
    return invalid(f"failed to parse the request JSON buffer: the key '{shown(key)}' is given twice in one object")
