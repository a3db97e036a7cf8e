"""Work whose size input decides and that would keep the event loop from other clients: done in threads of its own.

`LARGE` is the size from which decoding or encoding leaves the loop. Such work must be cut into pieces: a call into C
holds the interpreter lock until it returns, and the loop waits for it, whatever thread it runs in.
Two threads, so that the loop competes with few; small work that needs a thread (compressed bodies) has other ones.
Servers in one process share the threads: the last one to stop ends them, and a later one starts new ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Lock
from typing import Final, TypeVar, TypeVarTuple

LARGE: Final = 256 << 10  # bytes of JSON, typed gRPC contents or strings; they take up to 10 ms to decode
LARGE_COUNT: Final = 16384  # elements of an array; writing them as JSON takes about 1 ms

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

_COUNT: Final = 2


class _LargeWorkThreads:
    """The threads, and how many servers use them."""

    def __init__(self) -> None:
        self.pool = _new_pool()
        self._users = 0
        self._lock = Lock()

    def begin(self) -> ThreadPoolExecutor:
        """Count one more server; return the threads."""
        with self._lock:
            self._users += 1
            return self.pool

    def end(self) -> ThreadPoolExecutor | None:
        """Count one server less. If no server uses the threads any more, return them; whoever comes later gets others,
        which start with their first work."""
        with self._lock:
            self._users = max(0, self._users - 1)
            if self._users:
                return None
            ended, self.pool = self.pool, _new_pool()
            return ended


def _new_pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_COUNT, thread_name_prefix="slipway-large")


_THREADS: Final = _LargeWorkThreads()


def begin_large_work() -> None:
    """Start the threads now, for one server: when memory is short, none can be started any more."""
    pool = _THREADS.begin()
    together = Barrier(_COUNT)
    for begun in [pool.submit(together.wait) for _ in range(_COUNT)]:
        begun.result()


async def run_large(work: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
    """Return the result of `work(*arguments)`, which runs in one of the threads for large work.

    On cancellation, work that has not begun is dropped. If it has begun, this waits for its end, because the thread
    uses the arguments until then.
    """
    running = _THREADS.pool.submit(work, *arguments)
    waiting = asyncio.wrap_future(running)
    try:
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:
        if not running.cancel():
            await asyncio.wait((waiting,))
        raise
    finally:
        del running, waiting  # an error refers to this frame: it would keep itself, and the work's memory, alive


def end_large_work() -> None:
    """End what `begin_large_work` began. For the last server, drop the work that has not begun, and return once the
    rest has ended."""
    pool = _THREADS.end()
    if pool is not None:
        pool.shutdown(cancel_futures=True)
