"""The steps of a conversion: which one runs, how many there are, and how long the rest will take.

Counts and estimates, with the time from a given clock; prints nothing and knows no family of models.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

from slipway.durations import time_left


class Stage(Enum):
    """The kinds of steps, in their order."""

    OPEN = auto()
    PREPARE = auto()
    CANDIDATE = auto()
    AGAIN = auto()
    FINISH = auto()


# How long the steps after the candidates take, in units of the mean candidate. Measured with MiniLM on two cores that
# had other work too: seven candidates took 31 s each, the second measurement of the fastest 38 s, the end (measuring
# batches, verifying the final configuration) 127 s. A model that generates text is only copied at the end.
_AGAIN: Final = 1.2
MEASURES_BATCHES: Final = 4.0
COPIES: Final = 0.1


@dataclass(frozen=True, slots=True)
class ConversionStep:
    """A step that begins, or continues with other work: `total` is 0 before the candidates are known, `seconds_left`
    is None before the first of them is done, `candidate` is the label of the one that is worked on, if any."""

    number: int
    total: int
    text: str
    seconds_left: float | None = None
    candidate: str = ""

    def after(self, seconds: float) -> ConversionStep:
        """Return the same step when it has run for some seconds."""
        left = None if self.seconds_left is None else max(0.0, self.seconds_left - seconds)
        return replace(self, seconds_left=left)

    def __str__(self) -> str:
        place = f"step {self.number} of {self.total}" if self.total else f"step {self.number}"
        left = "" if self.seconds_left is None else time_left(self.seconds_left)
        return f"{place}: {self.text}" + (f", {left}" if left else "")


Show = Callable[[ConversionStep], None]


class Steps:
    """The steps of one conversion. Calling it shows what the current step does now.

    `finish` is the duration of the last step in units of the mean candidate.
    """

    def __init__(
        self,
        show: Show,
        clock: Callable[[], float] = time.monotonic,
        *,
        finish: float = MEASURES_BATCHES,
    ) -> None:
        self._show = show
        self._clock = clock
        self._units = {Stage.CANDIDATE: 1.0, Stage.AGAIN: _AGAIN, Stage.FINISH: finish}
        self._plan = [Stage.OPEN]
        self._current = 0
        self._candidate = ""
        self._begun = clock()
        self._candidates: list[float] = []  # seconds of those that are done

    def __call__(self, text: str) -> None:
        """Show what the current step does now."""
        total = len(self._plan) if len(self._plan) > 1 else 0
        self._show(ConversionStep(self._current + 1, total, text, self._seconds_left(), self._candidate))

    def expect(self, candidates: int) -> None:
        """Plan the steps after the first one."""
        again = [Stage.AGAIN] if candidates > 1 else []
        self._plan = [Stage.OPEN, Stage.PREPARE, *[Stage.CANDIDATE] * candidates, *again, Stage.FINISH]

    def work_on(self, candidate: str) -> None:
        """Name the candidate that the following calls are about; "" for none."""
        self._candidate = candidate

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
        current, *rest = (self._units[stage] * unit for stage in self._plan[self._current :])
        return max(0.0, current - (self._clock() - self._begun)) + sum(rest)
