"""Time the executions of a model, on one instance and on several at once; used by every wing.

Only measures; what follows from the figures is decided elsewhere.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from slipway.convert.arrays import Arrays
from slipway.convert.runner import OpenModel

_SECONDS: Final = 0.8  # at most, per figure; with more runs the medians of these models change by less than 3 %
_FEWEST: Final = 5
_MOST: Final = 100
_WARM: Final = 2


def seconds_per_run(model: OpenModel, inputs: Arrays, seconds: float = _SECONDS, fewest: int = _FEWEST) -> float:
    """Return the median duration of at least `fewest` executions, after a warm-up that is not counted."""
    for _ in range(_WARM if fewest == _FEWEST else 1):
        model.run(inputs)
    return statistics.median(_times(lambda: model.run(inputs), seconds, fewest))


def in_rounds(figures: Sequence[Callable[[], float]], rounds: int) -> list[tuple[float, ...]]:
    """Return the results of each measurement, one per round; a round runs all of them in turn. So other load on the
    machine affects all of them alike, and the spread between rounds shows how strong it was."""
    taken = [[figure() for figure in figures] for _ in range(rounds)]
    return list(zip(*taken, strict=True))


def _times(action: Callable[[], object], seconds: float, fewest: int = _FEWEST, most: int = _MOST) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < fewest or (len(times) < most and time.perf_counter() < end):
        begin = time.perf_counter()
        action()
        times.append(time.perf_counter() - begin)
    return times


def rows_per_second_together(
    model: OpenModel, inputs: Arrays, seconds: float = _SECONDS, fewest: int = _FEWEST
) -> float:
    """Return the total rows per second when all instances run concurrently, one row per execution.

    Rows are counted over the time that all instances took together: the median times of each instance would leave out
    the time that one spends waiting for the others.
    """
    count = len(model.executors)
    done: list[int] = []

    def work(instance: int) -> None:
        done.append(len(_times(lambda: model.run(inputs, instance), seconds, fewest)))

    for instance in range(count):
        model.run(inputs, instance)
    threads = [threading.Thread(target=work, args=(instance,)) for instance in range(count)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - begin)
