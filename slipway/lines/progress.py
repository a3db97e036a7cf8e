"""How far a run is, in words: lines, lines per second, the time left. Takes the time from its caller."""

from __future__ import annotations

from dataclasses import dataclass

from slipway.durations import time_left
from slipway.lines.transfer import TransferState


@dataclass(frozen=True, slots=True)
class LinesProgress:
    """A run that may still be writing lines: `total` is 0 if the number of lines is unknown."""

    state: TransferState
    total: int

    def after(self, seconds: float) -> str:
        """Return how far the run is, `seconds` after it began."""
        if self.state.waiting:
            return f"{self._place()}, waiting: {self.state.waiting}"
        rate = self.state.written / seconds if seconds > 0 else 0.0
        left = (self.total - self.state.done) / rate if self.total and rate else 0.0
        return ", ".join(filter(None, (self._place(), _rate(rate), time_left(left))))

    def _place(self) -> str:
        done = f"{self.state.done:,}"
        if not self.total:
            return f"{done} lines"
        return f"{done} of {self.total:,} lines ({self.state.done / self.total:.0%})"


def _rate(rate: float) -> str:
    return f"{rate:,.0f} lines/s" if rate >= 10 else f"{rate:.1f} lines/s" if rate else ""
