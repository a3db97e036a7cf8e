"""The lines that are under way: cut into batches, results put back in the order of the lines.

Pure: pushes, pops and settles, never waits. Between the oldest line without a result and the newest line read there are
at most `max_lines` lines and `max_bytes` bytes, however slow one batch is; a single line may exceed the latter. Lines
are taken in stretches, and those of a stretch are sorted by length before they are cut into batches, because a model
computes a batch as long as its longest row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from slipway.lines.splitting import Line, RefusedLine

_STRETCH_BATCHES: Final = 16


@dataclass(slots=True, eq=False)
class Stretch:
    """Consecutive lines and their results; `settled` is how many from the start have been released."""

    size: int
    results: list[Line | None]
    released: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class LineBatch:
    """Lines that are sent in one request, and where in their stretch they belong."""

    stretch: Stretch
    places: list[int]
    lines: list[bytes] = field(repr=False)

    def halves(self) -> list[LineBatch]:
        """Return the batch in two, to find out which line is refused."""
        middle = len(self.lines) // 2
        parts = (slice(None, middle), slice(middle, None))
        return [LineBatch(self.stretch, self.places[part], self.lines[part]) for part in parts]


class Window:
    """See the module."""

    def __init__(self, *, rows: int, batch_bytes: int, max_lines: int, max_bytes: int) -> None:
        self._rows = rows
        self._batch_bytes = batch_bytes
        self._max_lines = max_lines
        self._max_bytes = max_bytes
        self._stretches: deque[Stretch] = deque()
        self._batches: deque[LineBatch] = deque()
        self._lines = 0
        self._bytes = 0

    @property
    def has_room(self) -> bool:
        """Whether lines may be pushed."""
        return self._lines < self._max_lines and self._bytes < self._max_bytes

    @property
    def is_empty(self) -> bool:
        """Whether every line that was pushed has been released."""
        return not self._stretches

    def push(self, lines: Sequence[Line]) -> int:
        """Take lines while there is room and return how many."""
        taken = 0
        step = self._rows * _STRETCH_BATCHES
        while taken < len(lines) and self.has_room:
            part = lines[taken : taken + min(step, self._max_lines - self._lines)]
            self._add(part)
            taken += len(part)
        return taken

    def pop(self) -> LineBatch | None:
        """Return the next batch to send, None if there is none."""
        return self._batches.popleft() if self._batches else None

    def put_back(self, batches: Sequence[LineBatch]) -> None:
        """Have these batches sent again before any other."""
        self._batches.extendleft(reversed(batches))

    def settle(self, batch: LineBatch, results: Sequence[Line]) -> None:
        """Record the results of a batch, in the order of its lines."""
        found = batch.stretch.results
        for place, result in zip(batch.places, results, strict=True):
            found[place] = result

    def release(self) -> list[Line]:
        """Return the results that all earlier lines have, too, each once."""
        ready: list[Line] = []
        while self._stretches:
            stretch = self._stretches[0]
            before = stretch.released
            for result in stretch.results[before:] if before else stretch.results:
                if result is None:
                    break
                ready.append(result)
                stretch.released += 1
            self._lines -= stretch.released - before
            if stretch.released < len(stretch.results):
                break
            self._bytes -= stretch.size
            self._stretches.popleft()
        return ready

    def _add(self, lines: Sequence[Line]) -> None:
        size = sum(len(line) for line in lines if isinstance(line, bytes))
        stretch = Stretch(size, [line if isinstance(line, RefusedLine) else None for line in lines])
        self._stretches.append(stretch)
        self._lines += len(lines)
        self._bytes += size
        self._batches.extend(self._cut(stretch, lines))

    def _cut(self, stretch: Stretch, lines: Sequence[Line]) -> Iterator[LineBatch]:
        texts = {place: line for place, line in enumerate(lines) if isinstance(line, bytes)}
        places = sorted(texts, key=lambda place: -len(texts[place])) if self._rows > 1 else list(texts)
        start = 0
        while start < len(places):
            end, size = start, 0
            while end < len(places) and end - start < self._rows and (end == start or size < self._batch_bytes):
                size += len(texts[places[end]])
                end += 1
            yield LineBatch(stretch, places[start:end], [texts[place] for place in places[start:end]])
            start = end
