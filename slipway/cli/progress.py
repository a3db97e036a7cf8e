"""A progress line on a terminal, with the current step and the elapsed time; nothing in a pipe."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO

_TICK: Final = 0.2
_BARS: Final = "▏▎▍▌▋▊▉█"
_CLEAR: Final = "\r\033[K"


@contextmanager
def progress_line(stream: TextIO) -> Iterator[Callable[[str], None]]:
    """Yield a function to call with each step; the line is erased when the block ends."""
    if not stream.isatty():
        yield lambda _: None
        return
    line = _Line(stream)
    thread = threading.Thread(target=line.draw, daemon=True)
    thread.start()
    try:
        yield line.begin
    finally:
        line.ended.set()
        thread.join()
        stream.write(_CLEAR)
        stream.flush()


class _Line:
    """The current step, redrawn by a thread because the work itself reports nothing within a step."""

    def __init__(self, stream: TextIO) -> None:
        self.ended = threading.Event()
        self._stream = stream
        self._step = "starting"
        self._done = 0
        self._begin = time.monotonic()

    def begin(self, step: str) -> None:
        """Show the next step."""
        self._step = step
        self._done += 1

    def draw(self) -> None:
        """Redraw the line until `ended` is set."""
        while not self.ended.wait(_TICK):
            seconds = time.monotonic() - self._begin
            bar = _BARS[int(seconds / _TICK) % len(_BARS)]
            self._stream.write(f"{_CLEAR}{bar} step {self._done}, {seconds:.0f} s: {self._step}")
            self._stream.flush()
