"""Quantiles of a stream of numbers, within given rank errors, in little memory.

`QuantileStream` is the targeted-quantiles algorithm of Cormode, Korn, Muthukrishnan and Srivastava, "Effective
Computation of Biased Quantiles over Data Streams" (ICDE 2005). `Summary` puts it behind a sliding window of one minute,
as prometheus-cpp does (`summary.h`: 60 s, 5 ages). Pure: the clock is given.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

_NS_PER_S: Final = 10**9
WINDOW_NS: Final = 60 * _NS_PER_S
AGES: Final = 5
AGE_NS: Final = WINDOW_NS // AGES
_HELD: Final = 512  # observations that wait to be sorted in together


@dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile between 0 and 1, and by how much its rank may be wrong: 0.9 with 0.01 is between 0.89 and 0.91."""

    rank: float
    error: float


class _Sample:
    """A kept value: `width` ranks end at it, and its own rank may be higher by up to `slack`."""

    __slots__ = ("slack", "value", "width")

    def __init__(self, value: float, width: int, slack: int) -> None:
        self.value = value
        self.width = width
        self.slack = slack


class QuantileStream:
    """The values so far, of which only the samples are kept that the `targets` need."""

    def __init__(self, targets: Sequence[Quantile]) -> None:
        self._targets = tuple(map(_tightened, targets))
        self._samples: list[_Sample] = []
        self.count = 0

    @property
    def size(self) -> int:
        """The number of samples kept."""
        return len(self._samples)

    def add(self, values: Sequence[float]) -> None:
        """Add `values`, which must be in ascending order."""
        merged: list[_Sample] = []
        old, position, rank = self._samples, 0, 0
        for value in values:
            while position < len(old) and old[position].value <= value:
                rank += old[position].width
                merged.append(old[position])
                position += 1
            inner = rank > 0 and position < len(old)
            merged.append(_Sample(value, 1, max(int(self._allowed(rank)) - 1, 0) if inner else 0))
            rank += 1
            self.count += 1
        self._samples = [*merged, *old[position:]]
        self._compress()

    def value(self, rank: float) -> float:
        """Return the value at `rank` (0 to 1), NaN without values."""
        if not self._samples:
            return math.nan
        wanted = math.ceil(rank * self.count)
        limit = wanted + self._allowed(wanted) / 2
        below = 0
        before = self._samples[0]
        for sample in self._samples[1:]:
            below += before.width
            if below + sample.width + sample.slack > limit:
                return before.value
            before = sample
        return before.value

    def _allowed(self, rank: float) -> float:
        """Return how far ranks around `rank` may be apart: the paper's f(r, n)."""
        count = self.count
        least = 2.0 * count
        for target in self._targets:
            if target.rank == 1 or 0 < target.rank * count <= rank:
                allowed = 2 * target.error * rank / target.rank
            else:
                allowed = 2 * target.error * (count - rank) / (1 - target.rank)
            least = min(least, allowed)
        return least

    def _compress(self) -> None:
        """Drop the samples whose neighbours on the right stand for them within the allowed error."""
        if len(self._samples) < 3:
            return
        kept = [self._samples[-1]]
        rank = self.count - kept[0].width
        for sample in reversed(self._samples[1:-1]):
            right = kept[-1]
            rank -= sample.width  # of the samples before this one
            if sample.width + right.width + right.slack <= self._allowed(rank):
                right.width += sample.width
            else:
                kept.append(sample)
        kept.append(self._samples[0])  # the smallest value stays exact, like the largest
        self._samples = kept[::-1]


def _tightened(target: Quantile) -> Quantile:
    """Return the target to keep samples for. The paper bounds the error by f(r) / 2 at the rank r that is found; below
    the wanted rank, f is larger than there, by this factor at most."""
    if target.rank == 1:
        return target
    return Quantile(target.rank, target.error / (1 + 2 * target.error / (1 - target.rank)))


class Summary:
    """How many values there were, their sum, and the quantiles of the last minute. `clock` returns nanoseconds.

    One thread observes. Every age holds the values since it began; the oldest one answers and is then begun again, so
    the quantiles cover 48 to 60 seconds.
    """

    __slots__ = ("_ages", "_clock", "_held", "_turns_ns", "count", "targets", "total")

    def __init__(self, targets: Sequence[Quantile], clock: Callable[[], int]) -> None:
        self.targets = tuple(targets)
        self.count = 0
        self.total = 0.0
        self._clock = clock
        self._held: list[float] = []
        self._ages = deque(QuantileStream(self.targets) for _ in range(AGES))
        self._turns_ns = clock() + AGE_NS

    def observe(self, value: float) -> None:
        """Count `value`."""
        self.count += 1
        self.total += value
        if self._clock() >= self._turns_ns:
            self._turn()
        self._held.append(value)
        if len(self._held) >= _HELD:
            self._sort_in()

    def values(self) -> list[tuple[float, float]]:
        """Return each target's rank with the value there, NaN if there were no values for a minute."""
        if self._clock() >= self._turns_ns:
            self._turn()
        self._sort_in()
        oldest = self._ages[0]
        return [(target.rank, oldest.value(target.rank)) for target in self.targets]

    def _sort_in(self) -> None:
        if self._held:
            values = sorted(self._held)
            self._held.clear()
            for age in self._ages:
                age.add(values)

    def _turn(self) -> None:
        """Begin again every age whose time has passed."""
        self._sort_in()
        passed = 1 + (self._clock() - self._turns_ns) // AGE_NS
        for _ in range(min(passed, AGES)):
            self._ages.popleft()
            self._ages.append(QuantileStream(self.targets))
        self._turns_ns += passed * AGE_NS
