"""One line on a terminal that says what is being done and for how long; nothing in a pipe."""

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
    """Yield a function that is told each step; the line is gone when the block ends."""
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
    """The step that is being done, drawn again and again by a thread: the work itself does not report."""

    def __init__(self, stream: TextIO) -> None:
        self.ended = threading.Event()
        self._stream = stream
        self._step = "starting"
        self._done = 0
        self._begin = time.monotonic()

    def begin(self, step: str) -> None:
        """Take the next step."""
        self._step = step
        self._done += 1

    def draw(self) -> None:
        """Draw until the end."""
        while not self.ended.wait(_TICK):
            seconds = time.monotonic() - self._begin
            bar = _BARS[int(seconds / _TICK) % len(_BARS)]
            self._stream.write(f"{_CLEAR}{bar} step {self._done}, {seconds:.0f} s: {self._step}")
            self._stream.flush()
