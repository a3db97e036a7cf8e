"""The steps of a conversion: which one runs, how many there are, and how long the rest will take.

Counts and estimates, with the time from a given clock; prints nothing and knows no family of models.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum


class Stage(Enum):
    """The kinds of steps, in their order; the value is the duration in units of a candidate, 0 if it is not estimated.

    Measured with MiniLM on two cores: its seven candidates take 6 s each, the second measurement of the fastest 4 s,
    and the batches, the final check and the files 22 s.
    """

    OPEN = 0.0
    PREPARE = 0.01
    CANDIDATE = 1.0
    AGAIN = 0.7
    FINISH = 3.5


@dataclass(frozen=True, slots=True)
class Step:
    """A step that begins, or continues with other work: `total` is 0 before the candidates are known, `seconds_left`
    is None before the first of them is done."""

    number: int
    total: int
    text: str
    seconds_left: float | None = None

    def after(self, seconds: float) -> Step:
        """Return the same step when it has run for some seconds."""
        left = None if self.seconds_left is None else max(0.0, self.seconds_left - seconds)
        return replace(self, seconds_left=left)

    def __str__(self) -> str:
        place = f"step {self.number} of {self.total}" if self.total else f"step {self.number}"
        left = "" if self.seconds_left is None else time_left(self.seconds_left)
        return f"{place}: {self.text}" + (f", {left}" if left else "")


def time_left(seconds: float) -> str:
    """Return an estimate in words, "" below one second: about 40 s left, about 3 min left."""
    if seconds < 1:
        return ""
    if seconds < 90:
        return f"about {seconds:.0f} s left" if seconds < 10 else f"about {5 * round(seconds / 5)} s left"
    return f"about {round(seconds / 60)} min left"


class Steps:
    """The steps of one conversion. Calling it shows what the current step does now."""

    def __init__(self, show: Callable[[Step], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._show = show
        self._clock = clock
        self._plan = [Stage.OPEN]
        self._known = False
        self._current = 0
        self._begun = clock()
        self._candidates: list[float] = []  # seconds of those that are done

    def __call__(self, text: str) -> None:
        """Show what the current step does now."""
        total = len(self._plan) if self._known else 0
        self._show(Step(self._current + 1, total, text, self._seconds_left()))

    def expect(self, candidates: int) -> None:
        """Plan the steps after the first one."""
        self._plan = [Stage.OPEN, Stage.PREPARE, *[Stage.CANDIDATE] * candidates, Stage.AGAIN, Stage.FINISH]
        self._known = True

    def begin(self, stage: Stage) -> None:
        """Go on to the next step of this kind."""
        now = self._clock()
        if self._plan[self._current] is Stage.CANDIDATE:
            self._candidates.append(now - self._begun)
        self._current = self._plan.index(stage, self._current + 1)
        self._begun = now

    def _seconds_left(self) -> float | None:
        """Return how long the rest takes if it goes on as before."""
        if not self._candidates:
            return None
        unit = sum(self._candidates) / len(self._candidates)
        rest = sum(stage.value for stage in self._plan[self._current + 1 :])
        spent = self._clock() - self._begun
        return max(0.0, self._plan[self._current].value * unit - spent) + rest * unit
