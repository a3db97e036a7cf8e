"""What `t2t-trainer` prints, and the signals that end it: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from contextlib import ExitStack
from types import FrameType, TracebackType
from typing import Any, Final, Self, TextIO

from slipway.cli.progress import progress
from slipway.train.progress import TrainingPace
from slipway.train.reports import StepReport

_REPORT_S: Final = 10.0  # between two plain lines
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class ConsoleReporter:
    """Prints a training to a stream, in a `with` block."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bar = stream.isatty()
        self._shown: Any = None
        self._stack = ExitStack()
        self._pace = TrainingPace()
        self._printed = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._close_bar()

    def trained(self, report: StepReport) -> None:
        """Redraw the bar, or print a line after the first update, the last one, and every ten seconds."""
        state = self._pace.progress(report)
        if self._bar:
            if self._shown is None:
                self._shown = self._stack.enter_context(progress(self._stream))
            self._shown(state)
            return
        now = time.monotonic()
        if now - self._printed >= _REPORT_S or report.step == report.last_step:
            self._printed = now
            print(state, file=self._stream, flush=True)

    def evaluated(self, step: int, figures: Mapping[str, float]) -> None:
        """Print the figures of an evaluation."""
        values = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        self.note(f"step {step:,} on the dev split: {values}")

    def saved(self, step: int) -> None:
        """Print which step is on the disk."""
        self.note(f"step {step:,} saved")

    def note(self, text: str) -> None:
        """Print a line of its own."""
        self._close_bar()
        print(text, file=self._stream, flush=True)

    def _close_bar(self) -> None:
        self._stack.close()
        self._shown = None


class StopSignals:
    """Turns the first SIGINT or SIGTERM in a `with` block into a request to stop; a second one is handled as before."""

    def __init__(self) -> None:
        self._requested = False
        self._earlier: dict[int, Any] = {}

    def requested(self) -> bool:
        """Return whether the training should stop after this update."""
        return self._requested

    def __enter__(self) -> Self:
        self._earlier = {number: signal.signal(number, self._request) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _request(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        self._earlier = {}
