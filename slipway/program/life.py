"""One run of a server inside a program: an event loop of its own, its start, its end, and what other threads ask of it.

Knows neither how functions become models nor who waits.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Coroutine, Mapping
from concurrent.futures import CancelledError
from threading import Event, Lock
from typing import Any, Final, NoReturn, TypeVar

from slipway.backends.api import Backend
from slipway.config.options import ServerOptions
from slipway.core.log_settings import LogSettings
from slipway.engine.dataplane import Engine
from slipway.errors import Code, SlipwayError, internal, unavailable
from slipway.server import Ending, Front, ModelLoadError, Started, serve
from slipway.stopping import Stopping

_LOG: Final = logging.getLogger("slipway.program")
_NOT_RUNNING: Final = "the server is not running"
Result = TypeVar("Result")


class ThreadEnding:
    """The end of a server that is a thread of a program, which goes on whatever happens. Implements `server.Ending`."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.last_words = ""

    def end_now(self, reason: str, lost: int | None = None) -> NoReturn:
        """Raise UNAVAILABLE: threads that are still busy are left alone."""
        count = lost or 0
        raise unavailable(f"{reason}: {count} request{' is' if count == 1 else 's are'} lost")


class ServerLife:
    """Runs once. `begun` is set when it serves or has failed, `ended` when everything is released."""

    def __init__(self, options: ServerOptions, backends: Mapping[str, Backend]) -> None:
        self.begun = Event()
        self.ended = Event()
        self.failure: SlipwayError | None = None
        self.ports: Mapping[str, int] = {}
        self._options = options
        self._backends = backends
        self._engine: Engine | None = None
        self._lock = Lock()
        self._is_unwanted = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: Ending

    @property
    def serves(self) -> bool:
        """Whether it has started and is not stopping."""
        return self._engine is not None and not self._is_unwanted

    def run(self, *, signals: bool = False) -> None:
        """Serve in this thread until it is asked to stop, with `signals` also by a signal; never raises."""
        loop = _new_loop()
        try:
            loop.run_until_complete(self._serve(signals=signals))
        except SlipwayError as error:
            self.failure = error
        except Exception as error:  # noqa: BLE001  the thread that waits gets it
            _LOG.exception("the server failed")
            self.failure = internal(f"the server failed: {type(error).__name__}")
        finally:
            self._engine = None
            with self._lock:
                self._loop = None
            _close(loop)
            gc.unfreeze()  # the server froze what the program had, too
            self.begun.set()
            self.ended.set()

    def stop(self) -> None:
        """Ask it to stop, from any thread."""
        with self._lock:
            self._is_unwanted = True
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._ending.requested.set)

    def call(self, step: Coroutine[Any, Any, Result]) -> Result:
        """Return the result of a coroutine on the server's loop; not for that loop's own thread."""
        with self._lock:  # until the loop has the step: what it has when it ends, it cancels
            if self._loop is None:
                step.close()
                raise unavailable(_NOT_RUNNING)
            future = asyncio.run_coroutine_threadsafe(step, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise unavailable(_NOT_RUNNING) from None

    def load(self, name: str) -> None:
        """Load or reload a bound model; raise `SlipwayError` if that fails."""
        engine = self._engine
        if engine is None:
            raise unavailable(_NOT_RUNNING)
        self.call(engine.load_bound(name))

    async def _serve(self, *, signals: bool) -> None:
        options = self._options
        listeners: list[Front] = []
        stopping: Stopping | None = None
        if signals:
            seconds = options.drain_delay_secs + options.exit_timeout_secs
            stopping = Stopping(seconds, lambda: sum(listener.open_requests for listener in listeners))
            stopping.install()
        with self._lock:
            self._loop = asyncio.get_running_loop()
            self._ending = stopping or ThreadEnding()
            if self._is_unwanted:
                self._ending.requested.set()
        for warning in options.warnings:
            _LOG.warning("%s", warning)
        log_settings = LogSettings(verbose=options.log_verbose)
        try:
            await serve(options, log_settings, listeners, self._ending, backends=self._backends, started=self._started)
        except ModelLoadError as error:
            reasons = "; ".join(f"model '{name}': {why.detail.strip()}" for name, why in sorted(error.failed.items()))
            raise SlipwayError(Code.INTERNAL, f"failed to load all models: {reasons}") from None
        finally:
            if stopping is not None:
                stopping.end()

    def _started(self, started: Started) -> None:
        self._engine, self.ports = started.engine, started.ports
        self.begun.set()


def _new_loop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is left and close the loop, without waiting for threads: one may be blocked in user code."""
    loop.run_until_complete(_end_tasks())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


async def _end_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
