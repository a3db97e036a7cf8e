"""Call a bound function from its instance's thread, whatever kind it is: plain, async, generator, async generator.

Coroutines of all instances of a model run on one event loop, in a thread of its own, so that they may share sessions
and locks. If every request of a batch is cancelled, its coroutine is.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from queue import SimpleQueue
from typing import Any, Final

from slipway.backends.python.coroutines import CoroutineThread
from slipway.core.pending import Pending
from slipway.errors import FailureReason, SlipwayError, cancelled, internal, shown

_LOG: Final = logging.getLogger("slipway.function")


def raised(error: BaseException, model: str) -> SlipwayError:
    """Return the error of a request for which user code raised `error`, and log it with its traceback.

    A `SlipwayError` keeps its code and message; of any other, the client gets its type and text.
    """
    if isinstance(error, SlipwayError):
        return error.without_frames(reason=FailureReason.BACKEND)
    if isinstance(error, CancelledError | asyncio.CancelledError):
        return cancelled()
    _LOG.error("model '%s' raised %s", model, type(error).__name__, exc_info=error)
    text = shown(error)
    said = f"model '{model}' raised {type(error).__name__}"
    return internal(f"{said}: {text}" if text else said, reason=FailureReason.BACKEND)


class Caller:
    """Calls user code and waits for its result; the code runs in the calling thread, its coroutines on the loop."""

    def __init__(self, loop: CoroutineThread) -> None:
        self._loop = loop

    def call(self, function: Callable[..., Any], arguments: dict[str, Any], batch: Sequence[Pending] = ()) -> Any:
        """Return what the function returns, awaited if that can be awaited."""
        returned = function(**arguments)
        if inspect.isawaitable(returned):
            return self._loop.start(_following(returned, batch)).result()
        return returned

    def iterate(
        self, function: Callable[..., Any], arguments: dict[str, Any], batch: Sequence[Pending]
    ) -> Iterator[Any]:
        """Yield what the function yields; closing this iterator ends the function's."""
        items = self.call(function, arguments, batch)
        if hasattr(items, "__aiter__"):
            return self._drawn(aiter(items), batch)
        return iter(items)

    def _drawn(self, items: AsyncIterator[Any], batch: Sequence[Pending]) -> Iterator[Any]:
        """Yield the items of an async iterator, which computes the next one when the last one has been used."""
        drawn: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
        room = _Room()

        async def draw() -> None:
            room.open()
            try:
                async for item in items:
                    drawn.put((True, item))
                    await room.wait()
            finally:
                close = getattr(items, "aclose", None)
                if close is not None:
                    await close()

        drawing = self._loop.start(_following(draw(), batch, room.cancelled_by))
        drawing.add_done_callback(lambda done: drawn.put((False, done)))
        try:
            while True:
                is_item, value = drawn.get()
                if not is_item:
                    value.result()  # raises what the function raised
                    return
                yield value
                room.release()
        finally:
            if not drawing.done():
                room.cancel()


class _Room:
    """Lets a coroutine go on when another thread says so, or cancels it."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._free: asyncio.Event
        self._cancel: Callable[[], None] | None = None

    def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._free = asyncio.Event()

    async def wait(self) -> None:
        await self._free.wait()
        self._free.clear()

    def release(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._free.set)

    def cancelled_by(self, cancel: Callable[[], None]) -> None:
        self._cancel = cancel

    def cancel(self) -> None:
        if self._cancel is not None:
            self._cancel()


async def _following(
    awaitable: Awaitable[Any],
    batch: Sequence[Pending],
    announce: Callable[[Callable[[], None]], None] | None = None,
) -> Any:
    """Await, cancelled when every request of the batch is; `announce` gets a function that cancels it at once, from any
    thread."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101  for the type checker: coroutines run in tasks
    cancel = task.cancel
    open_requests = len(batch)

    def one_less() -> None:  # on the server's loop, once for each request that is cancelled
        nonlocal open_requests
        open_requests -= 1
        if open_requests == 0 and not loop.is_closed():
            loop.call_soon_threadsafe(cancel)

    if announce is not None:
        announce(lambda: _quietly(loop, cancel))
    for pending in batch:
        pending.loop.call_soon_threadsafe(pending.on_cancel, one_less)
    return await awaitable


def _quietly(loop: asyncio.AbstractEventLoop, cancel: Callable[[], object]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(cancel)
