"""Work whose size input decides and that would keep the event loop from other clients: done in threads of its own.

`LARGE` is the size from which decoding or encoding leaves the loop. Such work must be cut into pieces: a call into C
holds the interpreter lock until it returns, and the loop waits for it, whatever thread it runs in.
Two threads, so that the loop competes with few; small work that needs a thread (compressed bodies) has other ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Final, TypeVar, TypeVarTuple

LARGE: Final = 256 << 10  # bytes of JSON, typed gRPC contents or strings; they take up to 10 ms to decode
LARGE_COUNT: Final = 16384  # elements of an array; writing them as JSON takes about 1 ms

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

_COUNT: Final = 2
_THREADS: Final = ThreadPoolExecutor(_COUNT, thread_name_prefix="slipway-large")


def begin_large_work() -> None:
    """Start the threads now: when memory is short, none can be started any more."""
    together = Barrier(_COUNT)
    for begun in [_THREADS.submit(together.wait) for _ in range(_COUNT)]:
        begun.result()


async def run_large(work: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
    """Return the result of `work(*arguments)`, which runs in one of the threads for large work.

    On cancellation, work that has not begun is dropped. If it has begun, this waits for its end, because the thread
    uses the arguments until then.
    """
    running = _THREADS.submit(work, *arguments)
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
    """Drop the work that has not begun, and return once the rest has ended. No work can be added afterwards."""
    _THREADS.shutdown(cancel_futures=True)
