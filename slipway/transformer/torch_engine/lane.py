"""The threads on which torch computes: as few as can keep the cores busy, shared by all engines of the process.

libgomp keeps a team of threads for every thread that has computed in parallel. As soon as the teams together have more
threads than there are cores, all of them sleep between two products instead of spinning, and a decoding step is
hundreds of small products: T5-base on two cores, 100 tokens/s with one team, 62 with two, whoever owns the second.
So work comes to the team: what several callers want is computed in turn, a step of one after a step of the other.
Two products that share the cores would be slower than one after the other anyway. Knows nothing of transformers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Final, TypeVar

import torch

from slipway.cores import cpu_limit
from slipway.errors import unavailable

Result = TypeVar("Result")
Work = Generator[None, None, Result]  # a step from one `yield` to the next


class Lane:
    """One thread, and the work that is done on it step by step. It lives as long as an engine holds it."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.threads = 0  # the most that an engine on it computes with
        self.engines = 0
        self._lock = Lock()
        self._stopped = False
        self._arrivals: SimpleQueue[_Errand | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name=f"torch {place}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread when all that was asked for is done; what is asked for later is refused."""
        with self._lock:
            self._stopped = True
            self._arrivals.put(None)

    def run(self, work: Work[Result], threads: int) -> Result:
        """Have `work` done, in turn with what other callers want, and return or raise what it does."""
        errand = _Errand(work, threads)
        with self._lock:
            if self._stopped:
                raise unavailable("the engine is closed")
            self._arrivals.put(errand)
        try:
            result: Result = errand.outcome.result()
        finally:
            del errand.outcome  # an error leads to its frames, and they to the errand: no circle
        return result

    def _work(self) -> None:
        active: deque[_Errand] = deque()
        stopping = False
        with torch.inference_mode():
            while active or not stopping:
                while not self._arrivals.empty() or not (active or stopping):
                    arrival = self._arrivals.get()
                    if arrival is None:
                        stopping = True
                    else:
                        active.append(arrival)
                    del arrival  # a waiting thread must not keep the last request alive
                if active:
                    errand = active.popleft()
                    if errand.advance():
                        active.append(errand)
                    del errand


class _Errand:
    """Some work, with how many threads it is done, and where its result goes."""

    def __init__(self, work: Work[Any], threads: int) -> None:
        self.outcome: Future[Any] = Future()
        self._work = work
        self._threads = threads

    def advance(self) -> bool:
        """Do one step and return whether there are more."""
        try:
            _compute_with(self._threads)
            next(self._work)
        except StopIteration as end:
            self.outcome.set_result(end.value)
        except BaseException as error:  # noqa: BLE001  handed to whoever waits
            self.outcome.set_exception(error)
        else:
            return True
        return False


class Lanes:
    """The lanes of a process. Engines get one of their own as long as all threads together fit on the cores."""

    def __init__(self, cores: Callable[[], int] = cpu_limit) -> None:
        self._cores = cores
        self._lock = Lock()
        self._open: list[Lane] = []

    def acquire(self, place: str, threads: int) -> Lane:
        """Return a lane for an engine on `place`: "cpu", or a CUDA device, which has one lane."""
        with self._lock:
            there = [lane for lane in self._open if lane.place == place]
            room = self._cores() - sum(lane.threads for lane in there) if place == "cpu" else 0
            if there and threads > room:
                lane = min(there, key=lambda lane: lane.engines)
            else:
                lane = Lane(place)
                lane.start()
                self._open.append(lane)
            lane.engines += 1
            lane.threads = max(lane.threads, threads)
            return lane

    def release(self, lane: Lane) -> None:
        """Take one engine's hold from a lane; the last one ends it."""
        with self._lock:
            lane.engines -= 1
            if not lane.engines:
                self._open.remove(lane)
                lane.stop()


LANES: Final = Lanes()


@contextmanager
def computing(threads: int) -> Iterator[None]:
    """Have torch compute with so many threads and without gradients, whatever this thread asks of it."""
    _compute_with(threads)
    with torch.inference_mode():
        yield


def _compute_with(threads: int) -> None:
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
