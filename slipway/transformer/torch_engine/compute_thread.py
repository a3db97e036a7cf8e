"""The threads on which torch computes: as few as can keep the cores busy, shared by all engines of the process.

libgomp keeps a team of threads for every thread that has computed in parallel. As soon as the teams together have more
threads than there are cores, all of them sleep between two products instead of spinning, and a decoding step is
hundreds of small products: T5-base on two cores makes 100 tokens/s with one team and 62 with two, regardless of who
owns the second. So callers share a team: their work is computed in turn, one step of each at a time. Two products that
share the cores would be slower than one after the other anyway. Knows nothing about transformers.
"""

from __future__ import annotations

import atexit
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Lock, Thread, current_thread
from typing import Any, Final, TypeVar

import torch

from slipway.cores import cpu_limit
from slipway.errors import internal, unavailable

Result = TypeVar("Result")
Work = Generator[None, None, Result]  # a step from one `yield` to the next


class ComputeThread:
    """One thread, and the work that it does step by step. It lives as long as an engine holds it."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.grants: list[int] = []  # the number of threads of each engine that holds it
        self._lock = Lock()
        self._stopped = False
        self._abandoned = False
        self._arrivals: SimpleQueue[_WorkItem | None] = SimpleQueue()
        # A daemon, for engines that are never closed; `ComputeThreads.close` ends it before the interpreter exits.
        self._thread = Thread(target=self._work, name=f"torch {place}", daemon=True)

    @property
    def threads(self) -> int:
        """The number of threads in the team."""
        return max(self.grants, default=0)

    @property
    def alive(self) -> bool:
        """Whether the thread has not ended."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread when all submitted work is done; refuse later work."""
        with self._lock:
            self._stopped = True
            self._arrivals.put(None)

    def abandon(self) -> None:
        """End the thread after the current step; callers that wait get an error."""
        self._abandoned = True
        self.stop()
        self._thread.join()

    def run(self, work: Work[Result], threads: int) -> Result:
        """Do `work` in turn with the work of other callers, and return or raise its result."""
        if current_thread() is self._thread:
            raise internal("work on a compute thread submits work to the same thread, and would wait for itself")
        outcome: Future[Result] = Future()
        item = self._put(_WorkItem(work, threads, outcome))
        try:
            return outcome.result()
        finally:
            # The work of an interrupted caller is dropped. An error refers to its frames, which must not refer back to
            # it.
            item.outcome = None
            del outcome

    def begin(self, work: Work[None], threads: int) -> None:
        """Do `work`, which handles its own failures, in turn with the work of others; do not wait for it."""
        self._put(_WorkItem(work, threads, Future()))

    def _put(self, item: _WorkItem) -> _WorkItem:
        with self._lock:
            if self._stopped:
                raise unavailable("the engine is closed")
            self._arrivals.put(item)
        return item

    def _work(self) -> None:
        active: deque[_WorkItem] = deque()
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
                    item = active.popleft()
                    if self._abandoned:
                        item.drop(unavailable("the server is stopping"))
                    elif item.advance():
                        active.append(item)
                    del item


class _WorkItem:
    """Some work, its number of threads, and the future for its result, which is dropped if the caller is gone."""

    def __init__(self, work: Work[Any], threads: int, outcome: Future[Any]) -> None:
        self.outcome: Future[Any] | None = outcome
        self._work = work
        self._threads = threads

    def advance(self) -> bool:
        """Do one step and return whether more steps remain."""
        if self.outcome is None:
            self._work.close()
            return False
        try:
            _compute_with(self._threads)
            next(self._work)
        except StopIteration as end:
            self.finish(end.value)
        except BaseException as error:  # noqa: BLE001  raised again by the caller
            self.finish(error=error)
        else:
            return True
        return False

    def drop(self, error: BaseException) -> None:
        """End the work unfinished. What it holds is freed here: a tensor that its caller's thread frees while the
        process ends aborts the process."""
        self._work.close()
        self.finish(error=error)

    def finish(self, result: Any = None, error: BaseException | None = None) -> None:
        """Hand over the result or the error."""
        outcome = self.outcome
        if outcome is None:
            return
        if error is None:
            outcome.set_result(result)
        else:
            outcome.set_exception(error)


class ComputeThreads:
    """The compute threads of a process. Each engine gets its own as long as all threads together fit on the cores."""

    def __init__(self, cores: Callable[[], int] = cpu_limit) -> None:
        self._cores = cores
        self._lock = Lock()
        self._open: list[ComputeThread] = []
        self._ending: list[ComputeThread] = []  # nobody holds them; they finish what was submitted

    def acquire(self, place: str, threads: int) -> tuple[ComputeThread, int]:
        """Return a compute thread for an engine on `place`, and how many of the requested `threads` it may use there.

        A place is "cpu", or a CUDA device, which has one compute thread. The team of a shared compute thread grows as
        long as libgomp's count (the process, and every thread but the first of each team) does not exceed the cores.
        """
        with self._lock:
            there = [thread for thread in self._open if thread.place == place]
            if not there or (place == "cpu" and threads + sum(thread.threads for thread in there) <= self._cores()):
                thread, granted = ComputeThread(place), threads
                thread.start()
                self._open.append(thread)
            else:
                thread = min(there, key=lambda thread: len(thread.grants))
                others = sum(other.threads - 1 for other in there if other is not thread)
                granted = min(threads, max(thread.threads, self._cores() - others))
            thread.grants.append(granted)
            return thread, granted

    def release(self, thread: ComputeThread, granted: int) -> None:
        """Release one engine's hold on a compute thread; the last release ends it."""
        with self._lock:
            thread.grants.remove(granted)
            if not thread.grants:
                self._open.remove(thread)
                self._ending = [each for each in self._ending if each.alive]
                self._ending.append(thread)
                thread.stop()

    def close(self) -> None:
        """End all threads: one that is in the middle of a product would abort the exiting process."""
        with self._lock:
            open_threads, self._open, self._ending = self._open + self._ending, [], []
        for thread in open_threads:
            thread.abandon()


COMPUTE_THREADS: Final = ComputeThreads()
atexit.register(COMPUTE_THREADS.close)


@contextmanager
def computing(threads: int) -> Iterator[None]:
    """Make torch compute with `threads` threads and without gradients in this block."""
    _compute_with(threads)
    with torch.inference_mode():
        yield


def _compute_with(threads: int) -> None:
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
