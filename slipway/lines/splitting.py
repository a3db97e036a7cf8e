"""Blocks of bytes to lines: ended by a line feed only, a carriage return before it removed, each of a bounded size.

Knows neither files nor models. Other separators of Unicode (U+2028, U+0085, vertical tab, form feed) are part of a
line, as they are for `wc -l`: the number of lines is that of the line feeds, plus one if the text does not end in one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_FEED: Final = b"\n"
_RETURN: Final = b"\r"


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line without a result, and why: its output line is empty."""

    reason: str


Line = bytes | RefusedLine


class LineSplitter:
    """Splits a text that arrives in blocks. Invalid UTF-8 is replaced by U+FFFD, in `repaired` lines of which `first`
    is the number of the first, from 1; with `strict` false, bytes are passed on as they are."""

    def __init__(self, max_bytes: int, *, strict: bool = True) -> None:
        self.lines = 0
        self.repaired = 0
        self.first = 0
        self._max_bytes = max_bytes
        self._strict = strict
        self._rest: list[bytes] = []  # parts of the line that has begun
        self._size = 0

    def feed(self, block: bytes) -> list[Line]:
        """Return the lines that end in `block`."""
        head, feed, tail = block.partition(_FEED)
        if not feed:
            self._keep(block)
            return []
        self._keep(head)
        lines = [self._joined()]
        if tail:
            *whole, rest = tail.split(_FEED)
            lines += self._checked(whole)
            self._keep(rest)
        return self._counted(lines)

    def end(self) -> list[Line]:
        """Return the last line if the text does not end in a line feed."""
        return self._counted([self._joined()]) if self._size else []

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._size <= self._max_bytes:
            self._rest.append(part)
        else:
            self._rest.clear()  # what a line of any size costs

    def _joined(self) -> Line:
        line, size = b"".join(self._rest), self._size
        self._rest.clear()
        self._size = 0
        return self._too_long(size) if size > self._max_bytes else line

    def _checked(self, lines: list[bytes]) -> list[Line]:
        return [line if len(line) <= self._max_bytes else self._too_long(len(line)) for line in lines]

    def _too_long(self, size: int) -> RefusedLine:
        return RefusedLine(f"the line has {size} bytes, more than --max_line_bytes={self._max_bytes}")

    def _counted(self, lines: list[Line]) -> list[Line]:
        text = _FEED.join(line for line in lines if isinstance(line, bytes))
        if _RETURN in text:
            lines = [line.removesuffix(_RETURN) if isinstance(line, bytes) else line for line in lines]
        if self._strict and not _is_text(text):
            lines = [self._repair(line, number) for number, line in enumerate(lines, self.lines + 1)]
        self.lines += len(lines)
        return lines

    def _repair(self, line: Line, number: int) -> Line:
        if isinstance(line, RefusedLine) or _is_text(line):
            return line
        self.repaired += 1
        self.first = self.first or number
        return line.decode(errors="replace").encode()


def _is_text(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def as_line(values: list[bytes]) -> bytes:
    """Return the values of one line's result as one line: separated by tabs, line ends inside them as spaces."""
    line = values[0] if len(values) == 1 else b"\t".join(values)
    if _FEED in line or _RETURN in line:
        line = line.replace(b"\r\n", b" ").replace(_FEED, b" ").replace(_RETURN, b" ")
    return line
