"""The scheduling of a converted model, and the measured rates that justify it: values only."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """Rows per second for batches of `rows` rows with `length` tokens each: the median, and each round's result."""

    length: int
    rows: int
    rows_per_second: float
    rounds: tuple[float, ...] = ()

    @staticmethod
    def of(length: int, rows: int, rounds: Sequence[float]) -> Rate:
        """Return the rate that several rounds measured."""
        return Rate(length, rows, statistics.median(rounds), tuple(rounds))

    @property
    def measured(self) -> tuple[float, ...]:
        """The result of each round; without rounds, the single rate."""
        return self.rounds or (self.rows_per_second,)


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast one thing is as another: the median of paired rounds, and their range; from five rounds
    on, the range leaves out the lowest and the highest."""

    low: float
    middle: float
    high: float

    @staticmethod
    def of(rounds: Sequence[float]) -> Ratio:
        """Return the ratio that several rounds measured."""
        ordered = sorted(rounds)
        kept = ordered[1:-1] if len(ordered) >= 5 else ordered
        return Ratio(kept[0], statistics.median(ordered), kept[-1])

    def __str__(self) -> str:
        return f"{self.middle:.2f} times ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True, slots=True)
class Plan:
    """The scheduling that is written into the config: one instance with all threads, or one instance per core.

    `max_tokens` is the limit of a batch; 0 disables batching."""

    instances: int
    max_tokens: int
    rates: tuple[Rate, ...] = ()
    instance_rates: tuple[Rate, ...] = ()
    why: str = ""

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Return the rates as headers and rows: one row per length, one column per batch size; of a slow
        model, long texts are measured in small batches only."""
        sizes = sorted({rate.rows for rate in self.rates})
        lengths = sorted({rate.length for rate in self.rates})
        rates = {(rate.length, rate.rows): f"{rate.rows_per_second:.0f}" for rate in self.rates}
        together = {rate.length: f"{rate.rows_per_second:.0f}" for rate in self.instance_rates}
        headers = ("tokens", *(f"batch {size}" for size in sizes), *(("one instance per core",) if together else ()))
        rows = [
            (
                str(length),
                *(rates.get((length, size), "") for size in sizes),
                *((together[length],) if together else ()),
            )
            for length in lengths
        ]
        return headers, rows
