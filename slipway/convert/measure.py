"""Time the executions of a model, on one instance and on several at once; used by every wing.

Only measures; what follows from the figures is decided elsewhere.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from typing import Final

from slipway.convert.arrays import Arrays
from slipway.convert.runner import OpenModel

_SECONDS: Final = 0.8  # at most, per figure; with more runs the medians of these models change by less than 3 %
_FEWEST: Final = 5
_MOST: Final = 100
_WARM: Final = 2


def seconds_per_run(model: OpenModel, inputs: Arrays, seconds: float = _SECONDS) -> float:
    """Return the median duration of one execution."""
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
    """Return the total rows per second when all instances run concurrently, one row per execution."""
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
