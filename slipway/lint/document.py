"""Positions in a config.pbtxt: a tolerant outline of the text format, and the lookup from a field to its position.

The protobuf parser yields values without positions; this scan yields positions without values, and continues where the
parser stops. It knows no field names and reports nothing.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from slipway.problems import FieldPath, Named

MAX_DEPTH: Final = 64  # the limit of the parser (config/parse.py)

# An unclosed string ends with its line, and a template contains no other template: each alternative that begins also
# ends, so no text makes the scan backtrack.
TEMPLATE: Final = r"\$\{[^${}\n]*\}"
_TOKEN: Final = re.compile(
    rf"""(?P<comment>\#[^\n]*)
      | (?P<string>"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?)
      | (?P<word>{TEMPLATE}|[^\s{{}}<>\[\]:,;"'\#]+)
      | (?P<mark>[{{}}<>\[\]:,;])""",
    re.VERBOSE,
)
_CLOSING: Final = {"{": "}", "<": ">"}


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a field: a scalar's text, or the entries of a message."""

    start: int
    end: int
    text: str
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One `name: value`, `name { ... }` or `name: [ ... ]`, from its name to the end of its last value."""

    name: str
    start: int
    end: int
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A text with its outline."""

    text: str = ""
    entries: tuple[Entry, ...] = ()
    _lines: tuple[int, ...] = field(default=(0,), repr=False)  # where each line starts

    def find(self, path: FieldPath) -> Entry | Value | None:
        """Return what is at `path`: an entry if it ends with a name, else a value; None if it is not written."""
        found = [part for part in self._walk(path) if part is not None]
        return found[-1] if len(found) == len(path) and found else None

    def offset(self, path: FieldPath) -> int:
        """Return where `path` begins, else where its nearest enclosing part does; 0 if no part of it is written."""
        starts = [part.start for part in self._walk(path) if part is not None]
        return starts[-1] if starts else 0

    def entry(self, path: FieldPath) -> Entry | None:
        """Return the entry at `path`, which ends with a field's name."""
        found = self.find(path)
        return found if isinstance(found, Entry) else None

    def values(self, path: FieldPath) -> list[Value]:
        """Return every value of the field at `path`, over all entries of that name."""
        parents, name = path[:-1], path[-1]
        entries = _inside(self.find(parents)) if parents else self.entries
        return [value for entry in entries if entry.name == name for value in entry.values]

    def lone_entry(self, path: FieldPath) -> Entry | None:
        """Return the entry at `path`, which ends with a field's name, if exactly one has that name."""
        parents, name = path[:-1], path[-1]
        entries = [entry for entry in (_inside(self.find(parents)) if parents else self.entries) if entry.name == name]
        return entries[0] if len(entries) == 1 else None

    def place(self, offset: int) -> tuple[int, int]:
        """Return the line and column of an offset, counted from 1."""
        line = bisect_right(self._lines, offset)
        return line, offset - self._lines[line - 1] + 1

    def offset_of(self, line: int, column: int) -> int:
        """Return the offset of a line and column."""
        return min(self._lines[min(line, len(self._lines)) - 1] + column - 1, len(self.text))

    def comments(self) -> Iterator[tuple[int, int]]:
        """Yield where each comment starts and ends."""
        return (match.span() for match in _TOKEN.finditer(self.text) if match.lastgroup == "comment")

    def chain(self, offset: int) -> list[Entry]:
        """Return the entries around an offset, outermost first."""
        found: list[Entry] = []
        entries = self.entries
        while True:
            inner = next((entry for entry in entries if entry.start <= offset < max(entry.end, entry.start + 1)), None)
            if inner is None:
                return found
            found.append(inner)
            entries = tuple(entry for value in inner.values for entry in value.entries)

    def _walk(self, path: FieldPath) -> Iterator[Entry | Value | None]:
        """Yield what each step of `path` leads to; None ends it."""
        entries: tuple[Entry, ...] = self.entries
        values: list[Value] = []
        for step in path:
            part: Entry | Value | None
            if isinstance(step, str):
                named = [entry for entry in entries if entry.name == step]
                values = [value for entry in named for value in entry.values]
                part = named[0] if named else None
            else:
                part = _choose(values, step)
                values = [part] if part else []
            yield part
            if part is None:
                return
            entries = values[0].entries if values else ()


def _inside(part: Entry | Value | None) -> tuple[Entry, ...]:
    if isinstance(part, Entry):
        return part.values[0].entries if part.values else ()
    return part.entries if part else ()


def _choose(values: Sequence[Value], step: int | Named) -> Value | None:
    if isinstance(step, int):
        return values[step] if step < len(values) else None
    return next((value for value in values if _scalar(value, step.field) == step.text), None)


def _scalar(value: Value, name: str) -> str:
    for entry in value.entries:
        if entry.name == name and entry.values:
            return entry.values[0].text.strip("\"'")
    return ""


# Scanning


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int


def scan(text: str) -> Document:
    """Return the outline of `text`; skip what cannot be understood."""
    tokens = [
        _Token(match.lastgroup or "", match[0], match.start(), match.end())
        for match in _TOKEN.finditer(text)
        if match.lastgroup != "comment"
    ]
    lines = (0, *(match.end() for match in re.finditer("\n", text)))
    return Document(text, _Scanner(tokens).entries("", 0), lines)


class _Scanner:
    """Recursive descent over the tokens, as deep as the parser goes."""

    def __init__(self, tokens: Sequence[_Token]) -> None:
        self._tokens = tokens
        self._next = 0

    def entries(self, closing: str, depth: int) -> tuple[Entry, ...]:
        """Return the entries up to the mark `closing` ("" for the end of the text)."""
        found: list[Entry] = []
        while (token := self._peek()) is not None and token.text != closing:
            if token.kind == "word":
                found.append(self._entry(depth))
            else:
                self._next += 1
        return tuple(found)

    def _entry(self, depth: int) -> Entry:
        name = self._take()
        token = self._peek()
        if token is not None and token.text == ":":
            self._next += 1
            token = self._peek()
        if token is None:
            return Entry(name.text, name.start, name.end, ())
        values = tuple(self._values(depth))
        return Entry(name.text, name.start, max(name.end, self._tokens[self._next - 1].end), values)

    def _values(self, depth: int) -> Iterator[Value]:
        if self._tokens[self._next].text != "[":
            value = self._value(depth)
            if value is not None:
                yield value
            return
        self._next += 1
        while (token := self._peek()) is not None and token.text != "]":
            value = self._value(depth)
            if value is not None:
                yield value
            elif self._peek() is token:
                self._next += 1
        self._next += token is not None

    def _value(self, depth: int) -> Value | None:
        token = self._tokens[self._next]
        if token.text in _CLOSING and token.kind == "mark" and depth < MAX_DEPTH:
            self._next += 1
            entries = self.entries(_CLOSING[token.text], depth + 1)
            last = self._peek()
            self._next += last is not None
            return Value(token.start, last.end if last else self._tokens[-1].end, "", entries)
        if token.kind not in ("word", "string"):
            return None
        self._next += 1
        end = token.end
        while token.kind == "string" and (more := self._peek()) is not None and more.kind == "string":
            end, self._next = more.end, self._next + 1
        return Value(token.start, end, token.text)

    def _peek(self) -> _Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _take(self) -> _Token:
        self._next += 1
        return self._tokens[self._next - 1]
