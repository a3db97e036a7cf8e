"""An event loop in its own thread, where a model's coroutines run; the first coroutine starts it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Any


class CoroutineThread:
    """Runs the coroutines of one model."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None
        self._lock = Lock()

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Start a coroutine; the future gets its result."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = Thread(target=self._loop.run_forever, name=f"{self._name} coroutines", daemon=True)
                self._thread.start()
        future: Future[Any] = Future()
        asyncio.run_coroutine_threadsafe(_settle(future, coroutine), self._loop)
        return future

    def close(self) -> None:
        """Cancel the coroutines that are still running, and end the thread."""
        if self._loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _settle(future: Future[Any], coroutine: Coroutine[Any, Any, Any]) -> None:
    try:
        result = await coroutine
    except BaseException as error:  # noqa: BLE001  also SystemExit: it would stop the loop, and every caller would wait for ever
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            future.cancel()
        else:
            future.set_exception(error)
    else:
        future.set_result(result)


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
