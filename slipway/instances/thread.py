"""An instance with a thread of its own, for libraries that release the GIL while they compute.

The executor is opened, used and closed in that thread, because libraries may tie state to the thread that created it.
Work arrives through a queue; results return to the event loop through `call_soon_threadsafe`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Thread

from slipway.affinity import stay_on
from slipway.backends.api import Executor
from slipway.backends.instance_api import Finished, Outcome
from slipway.core.pending import Pending
from slipway.errors import internal
from slipway.instances.execution import execute

Batch = tuple[Sequence[Pending], Finished]
Errand = Callable[[], object]


class ThreadInstance:
    """Executes in its own thread. Implements `backends.instance_api.Instance`; `open` starts the thread."""

    depth = 8  # batches that the thread works through without waiting for the event loop in between

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop, cpus: frozenset[int] = frozenset()) -> None:
        self.name = name
        self._cpus = cpus
        self._loop = loop
        self._work: SimpleQueue[Batch | Errand | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._executor: Executor
        self._outcomes: deque[tuple[Finished, Outcome]] = deque()
        self._announced = False  # the event loop is about to read `_outcomes`

    async def open(self, make: Callable[[], Executor]) -> None:
        """Start the thread on its CPUs and create the executor in it; raise what `make` raises."""

        def adopt() -> None:
            stay_on(self._cpus)
            self._executor = make()

        self._thread.start()
        try:
            await self._in_thread(adopt)
        except BaseException:
            self._work.put(None)
            raise

    def start(self, batch: Sequence[Pending], finished: Finished) -> None:
        """Hand `batch` to the thread."""
        self._work.put((batch, finished))

    async def check_ready(self) -> None:
        """Raise `SlipwayError` when the executor cannot serve; checked after the work already queued."""
        await self._in_thread(self._executor.check_ready)

    async def close(self) -> None:
        """Finish what was started, release the executor and end the thread."""
        try:
            await self._in_thread(self._executor.close)
        finally:
            self._work.put(None)
            await asyncio.to_thread(self._thread.join)

    async def _in_thread(self, errand: Errand) -> None:
        done: asyncio.Future[None] = self._loop.create_future()

        def run() -> None:
            error: BaseException | None = None
            try:
                errand()
            except SystemExit:  # it would stop the server if it reached the event loop
                error = internal(f"model instance '{self.name}' tried to exit")
            except BaseException as raised:  # noqa: BLE001  raised again by the caller that waits
                error = raised
            self._loop.call_soon_threadsafe(_settle, done, error)

        self._work.put(run)
        await done

    def _run(self) -> None:
        take, name = self._work.get, self.name
        while (work := take()) is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is waiting for an answer
                if isinstance(work, tuple):
                    self._outcomes.append((work[1], execute(self._executor, work[0], name)))
                    if not self._announced:  # waking the loop costs more than a small execution
                        self._announced = True
                        self._loop.call_soon_threadsafe(self._hand_over)
                else:
                    work()
            del work  # a waiting thread must not keep the last batch alive

    def _hand_over(self) -> None:
        self._announced = False
        outcomes = self._outcomes
        while outcomes:
            finished, outcome = outcomes.popleft()
            finished(outcome)


def _settle(done: asyncio.Future[None], error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
