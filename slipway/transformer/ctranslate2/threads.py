"""How many threads compute fastest: measured once per model and machine, remembered beside the model.

More threads are not faster for every model: OpenMP's barriers cost more than a second core gives where the
matrices are small (T5-base int8 on two cores, batch 1: 67 tokens/s with one thread, 40 with two; float32, batch 8: 62
and 125). Knows neither models nor the library: what is timed is a function.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import Final, TypeVar

from slipway.cores import cpu_limit

BATCHES: Final = (1, 8)
SECONDS: Final = 0.3  # per batch size
REPEATS: Final = 3
GAIN: Final = 1.1  # more threads must be worth it: they are taken from what else runs
FILE: Final = "threads.json"

log = logging.getLogger("slipway.transformer")
_one_at_a_time = threading.Lock()  # models that load together must not time each other

Model = TypeVar("Model")
Clock = Callable[[], float]


def candidates(cores: int, workers: int) -> list[int]:
    """Return the numbers of threads worth a try when `workers` calls may run at once."""
    most = max(1, cores // workers)
    return sorted({1, max(1, most // 2), most})


def fastest(
    numbers: Sequence[int],
    load: Callable[[int], Model],
    run: Callable[[Model, int], None],
    *,
    clock: Clock = time.perf_counter,
) -> tuple[int, Model]:
    """Return the best number of threads and the model loaded with it; `run` is timed for each of `BATCHES`.

    One model is in memory at a time.
    """
    with _one_at_a_time:
        costs: dict[int, float] = {}
        model: Model | None = None
        for threads in numbers:
            model = None  # released before the next is loaded
            model = load(threads)
            costs[threads] = prod([_seconds(partial(run, model, batch), clock) for batch in BATCHES])
    best = numbers[0]
    for threads in numbers[1:]:
        if costs[threads] * GAIN ** len(BATCHES) < costs[best]:
            best = threads
    log.debug("threads %s took %s", list(costs), list(costs.values()))
    if model is not None and best == numbers[-1]:
        return best, model
    model = None
    return best, load(best)


def remembered(directory: Path, workers: int) -> int:
    """Return what was measured on a machine like this one, 0 when nothing was."""
    try:
        known = json.loads((directory / FILE).read_text())
        return max(1, int(known[_machine(workers)]))
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def remember(directory: Path, workers: int, threads: int) -> None:
    """Keep what was measured for the next start."""
    try:
        known = json.loads((directory / FILE).read_text())
    except (OSError, ValueError):
        known = {}
    unfinished = directory / f"{FILE}.{os.getpid()}"
    try:
        unfinished.write_text(json.dumps({**known, _machine(workers): threads}))
        unfinished.rename(directory / FILE)
    except OSError as error:  # measured again next time
        log.debug("cannot remember the number of threads: %s", error)


def _seconds(run: Callable[[], None], clock: Clock) -> float:
    """Return the shortest of a few runs after one that warms up."""
    run()
    shortest, end = float("inf"), clock() + SECONDS
    for _ in range(REPEATS):
        start = clock()
        run()
        now = clock()
        shortest = min(shortest, now - start)
        if now > end:
            break
    return shortest


def _machine(workers: int) -> str:
    return f"{_processor()}, {cpu_limit()} cores, {workers} workers"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
