"""Measure the speed of an encoder or graph on this machine: latency and rows per second at given lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from slipway.convert.candidates.subject import Subject
from slipway.convert.measure import seconds_per_run
from slipway.convert.runner import OpenModel

_LONGEST_BATCH: Final = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class RowSpeed:
    """The speed at one length, in `unit`: median latency of a single row, and rows per second alone and in batches of
    `batch`."""

    length: int
    latency_ms: float
    rows_per_second: float
    batch: int
    batched_rows_per_second: float
    unit: str = "tokens"

    @property
    def rate(self) -> float:
        """Return the rows per second, one at a time."""
        return self.rows_per_second


def measure(model: OpenModel, subject: Subject, lengths: Sequence[int]) -> tuple[RowSpeed, ...]:
    """Return the speed at each length on the model's first instance."""
    return tuple(_speed(model, subject, length) for length in real_lengths(subject, lengths))


def real_lengths(subject: Subject, lengths: Sequence[int]) -> list[int]:
    """Return the distinct lengths, each limited to the longest that the model accepts; a length that the model does not
    accept becomes the nearest that it does."""
    if subject.interface.measured:
        return list(subject.interface.measured)
    longest, sizes = subject.interface.longest, subject.interface.sizes
    if sizes:
        return sorted({min(sizes, key=lambda size: abs(size - length)) for length in lengths})
    return sorted({min(length, longest) if longest else length for length in lengths})


def tokens_per_row(subject: Subject, length: int) -> int:
    """Return the size of the first input in a row of `length`, including all labels if a row has several."""
    sample = subject.sample(length, 1)
    return max(1, int(sample[subject.interface.inputs[0].name].size))


def fitting(rows: int, seconds: float) -> int:
    """Return how many rows a measured batch has, `rows` at most, if one row takes so many seconds: the batches of large
    networks would otherwise be measured for minutes."""
    while rows > 2 and rows * seconds > _LONGEST_BATCH:
        rows //= 2
    return rows


def _speed(model: OpenModel, subject: Subject, length: int) -> RowSpeed:
    alone = seconds_per_run(model, subject.sample(length, 1))
    batch = fitting(min(8, subject.interface.max_batch_size) or 1, alone)
    together = seconds_per_run(model, subject.sample(length, batch)) if batch > 1 else alone
    return RowSpeed(length, alone * 1e3, 1 / alone, batch, batch / together, subject.interface.unit)
