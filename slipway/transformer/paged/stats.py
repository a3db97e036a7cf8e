"""What a running batch counts: figures for metrics, as plain values.

The driver of a running batch has the `RunningCounters`, on its own thread; everybody else gets a `RunningStats`, a copy
that never changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from slipway.core.statistics import Histogram

# Upper bounds of the buckets, in seconds: those of vLLM, so that its dashboards show these histograms too.
FIRST_TOKEN_BOUNDS: Final = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20,
                             40, 80, 160, 640, 2560)  # fmt: skip
TOKEN_BOUNDS: Final = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
ROW_BOUNDS: Final = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)


@dataclass(frozen=True, slots=True)
class DurationHistogram:
    """Durations in seconds. `counts[i]` are those in bucket i alone (not cumulative): up to `bounds[i]`, and above all
    bounds in the last, so there is one count more than there are bounds. `total` is the sum of all durations."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    @property
    def count(self) -> int:
        """The number of durations."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class RunningStats:
    """A running batch at one moment. Rows and pages are as they are now; all other figures only grow."""

    running: int  # rows that are being computed
    waiting: int  # rows that wait for a place or for pages, preempted ones included
    pages_used: int  # pages of running rows; pages that only the prefix cache keeps count as free
    pages_total: int
    page_size: int  # tokens
    prompt_tokens: int  # of the prompts of all rows that began
    cached_tokens: int  # of these, found in the prefix cache
    generated_tokens: int
    draft_tokens: int  # that were computed before it was known whether they are right
    accepted_tokens: int  # of these, those that were: each saved its row a step
    preemptions: int  # rows that gave their pages back and were computed again
    steps: int
    finished: int  # rows that ended by themselves
    cancelled: int  # rows whose client left
    failed: int
    time_to_first: DurationHistogram  # from a row's arrival to its first token
    time_per_token: DurationHistogram  # between two tokens of a row
    time_of_row: DurationHistogram  # from a row's arrival to its end, if it finished

    @property
    def usage(self) -> float:
        """The share of the pages that is used, from 0 to 1."""
        return self.pages_used / self.pages_total if self.pages_total else 0.0


@dataclass(slots=True)
class RunningCounters:
    """The figures that only grow; one thread changes them."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    draft_tokens: int = 0
    accepted_tokens: int = 0
    preemptions: int = 0
    steps: int = 0
    finished: int = 0
    cancelled: int = 0
    failed: int = 0
    time_to_first: Histogram = field(default_factory=lambda: Histogram(FIRST_TOKEN_BOUNDS))
    time_per_token: Histogram = field(default_factory=lambda: Histogram(TOKEN_BOUNDS))
    time_of_row: Histogram = field(default_factory=lambda: Histogram(ROW_BOUNDS))

    def snapshot(
        self, *, running: int, waiting: int, pages_used: int, pages_total: int, page_size: int
    ) -> RunningStats:
        """Return the figures together with the rows and pages of this moment."""
        return RunningStats(
            running=running,
            waiting=waiting,
            pages_used=pages_used,
            pages_total=pages_total,
            page_size=page_size,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            generated_tokens=self.generated_tokens,
            draft_tokens=self.draft_tokens,
            accepted_tokens=self.accepted_tokens,
            preemptions=self.preemptions,
            steps=self.steps,
            finished=self.finished,
            cancelled=self.cancelled,
            failed=self.failed,
            time_to_first=_frozen(self.time_to_first),
            time_per_token=_frozen(self.time_per_token),
            time_of_row=_frozen(self.time_of_row),
        )


def _frozen(histogram: Histogram) -> DurationHistogram:
    return DurationHistogram(histogram.bounds, tuple(histogram.counts), histogram.total)
