"""How fast a model is on this machine: latency and rows per second at given lengths, batches and instances.

The clock is the only thing here that differs from run to run; what is done with the figures is batching.py's.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from slipway.convert.encoders.subject import Arrays, Subject
from slipway.convert.runner import OpenModel

_SECONDS: Final = 0.8  # per figure at most; more runs move a median of these models by less than 3 %
_FEWEST: Final = 5
_MOST: Final = 100
_WARM: Final = 2


@dataclass(frozen=True, slots=True)
class Speed:
    """A model at one length: median of a row alone, and rows per second, alone and in batches of `batch`."""

    length: int
    latency_ms: float
    rows_per_second: float
    batch: int
    batched_rows_per_second: float


def measure(model: OpenModel, subject: Subject, lengths: Sequence[int]) -> tuple[Speed, ...]:
    """Return the speed at each length, on the model's first instance."""
    return tuple(_speed(model, subject, length) for length in real_lengths(subject, lengths))


def real_lengths(subject: Subject, lengths: Sequence[int]) -> list[int]:
    """Return the lengths that the model can have, each once: one above its longest is its longest."""
    longest = subject.interface.longest
    return sorted({min(length, longest) if longest else length for length in lengths})


def tokens_per_row(subject: Subject, length: int) -> int:
    """Return the elements of the first input in a row of `length`: labels count too, where a row has several."""
    sample = subject.sample(length, 1)
    return max(1, int(sample[subject.interface.inputs[0].name].size))


def _speed(model: OpenModel, subject: Subject, length: int) -> Speed:
    batch = min(8, subject.interface.max_batch_size) or 1
    alone = seconds_per_run(model, subject.sample(length, 1))
    together = seconds_per_run(model, subject.sample(length, batch)) if batch > 1 else alone
    return Speed(length, alone * 1e3, 1 / alone, batch, batch / together)


def seconds_per_run(model: OpenModel, inputs: Arrays, seconds: float = _SECONDS) -> float:
    """Return the median time of one execution."""
    for _ in range(_WARM):
        model.run(inputs)
    return statistics.median(_times(lambda: model.run(inputs), seconds))


def _times(action: Callable[[], object], seconds: float, most: int = _MOST) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < _FEWEST or (len(times) < most and time.perf_counter() < end):
        begin = time.perf_counter()
        action()
        times.append(time.perf_counter() - begin)
    return times


def rows_per_second_together(model: OpenModel, inputs: Arrays, seconds: float = _SECONDS) -> float:
    """Return the rows per second of all instances at work at the same time, one row each."""
    count = len(model.executors)
    times: list[list[float]] = []

    def work(instance: int) -> None:
        times.append(_times(lambda: model.run(inputs, instance), seconds))

    for instance in range(count):
        model.run(inputs, instance)
    threads = [threading.Thread(target=work, args=(instance,)) for instance in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(1 / statistics.median(each) for each in times)
