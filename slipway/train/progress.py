"""How far a training is, in words: step, loss, tokens per second, time left. Takes the times from its caller."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from slipway.durations import time_left
from slipway.train.reports import StepReport

_WINDOW: Final = 50  # updates whose mean is shown


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """The state after an update. `loss` is a mean over the latest ones, `speed` is in tokens per second, `left` in
    seconds."""

    step: int
    last_step: int
    loss: float
    speed: float
    left: float

    def __str__(self) -> str:
        place = f"step {self.step:,} of {self.last_step:,} ({self.step / self.last_step:.0%})"
        parts = (place, f"loss {self.loss:.3f}", f"{self.speed:,.0f} tokens/s", time_left(self.left))
        return ", ".join(filter(None, parts))

    def after(self, seconds: float) -> str:
        """Return the same, whatever time has passed: the next update follows soon."""
        del seconds
        return str(self)


class TrainingPace:
    """The latest updates of a training, from which its progress follows."""

    def __init__(self) -> None:
        self._reports: deque[StepReport] = deque(maxlen=_WINDOW)

    def progress(self, report: StepReport) -> TrainingProgress:
        """Return the state after one more update."""
        self._reports.append(report)
        timed = [each for each in self._reports if each.seconds > 0]
        seconds = sum(each.seconds for each in timed)
        speed = sum(each.tokens for each in timed) / seconds if seconds else 0.0
        left = (report.last_step - report.step) * seconds / len(timed) if timed else 0.0
        loss = sum(each.loss for each in self._reports) / len(self._reports)
        return TrainingProgress(report.step, report.last_step, loss, speed, left)
