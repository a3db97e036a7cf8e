"""The progress of a command: one line that is redrawn on a terminal, a line per step elsewhere."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol, TextIO

from slipway.cli.output import WIDTH
from slipway.convert.steps import ConversionStep

_TICK: Final = 0.2
_BARS: Final = "▏▎▍▌▋▊▉█"
_CLEAR: Final = "\r\033[K"


class ShownStep(Protocol):
    """What a command is doing, printable."""

    def after(self, seconds: float) -> object:
        """Return the same, when it has run for some seconds."""


@contextmanager
def progress(stream: TextIO, *, verbose: bool = False) -> Iterator[Callable[[ShownStep], None]]:
    """Yield a function to call with each step. On a terminal it fills one line, which is erased when the block ends;
    elsewhere, and with `verbose`, when libraries print too, each step is a line of its own."""
    if verbose or not stream.isatty():
        yield lambda step: print(step, file=stream, flush=True)
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
        self._step: ShownStep = ConversionStep(1, 0, "starting")
        self._started = self._begun = time.monotonic()

    def begin(self, step: ShownStep) -> None:
        """Show the next step."""
        self._step, self._begun = step, time.monotonic()

    def draw(self) -> None:
        """Redraw the line until `ended` is set."""
        while not self.ended.wait(_TICK):
            now = time.monotonic()
            bar = _BARS[int((now - self._started) / _TICK) % len(_BARS)]
            text = f"{bar} {now - self._started:.0f} s, {self._step.after(now - self._begun)}"
            self._stream.write(_CLEAR + text[: self._columns() - 1])  # a line that wraps could not be erased
            self._stream.flush()

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or WIDTH
        except OSError:
            return WIDTH
