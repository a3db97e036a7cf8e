"""The server's services to its models, from any thread: business logic calls, model control, metrics."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from slipway.core.metrics import MetricRegistry
from slipway.core.pending import Deliver, Pending
from slipway.core.request import InferRequest, InferResponse
from slipway.engine.inside import Inside
from slipway.errors import SlipwayError, cancelled, internal


class _Call:
    """A request on its way to the event loop, which may be cancelled before it arrives."""

    __slots__ = ("_deliver", "_loop", "_pending", "_unwanted")

    def __init__(self, loop: asyncio.AbstractEventLoop, deliver: Deliver) -> None:
        self._loop = loop
        self._deliver = deliver
        self._pending: Pending | None = None
        self._unwanted = False

    def submit(self, inside: Inside, request: InferRequest) -> None:
        if self._unwanted:
            self._deliver(InferResponse(request.model_name, error=cancelled()))
            return
        try:
            pending = inside.submit(request, self._deliver)
        except SlipwayError as error:
            self._deliver(InferResponse(request.model_name, request.model_version, request.id, error=error))
            return
        if not pending.finished:
            self._pending = pending

    def cancel(self) -> None:
        """Cancel the request, from any thread."""
        self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        self._unwanted = True
        if self._pending is not None:
            self._pending.cancel()


class EngineHost:
    """Implements `backends.api.Host` with what a namespace sees of an engine. Construct it on the event loop."""

    def __init__(self, inside: Inside, metrics: MetricRegistry) -> None:
        self.metrics = metrics
        self._inside = inside
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()

    def submit(self, request: InferRequest, deliver: Deliver) -> Callable[[], None]:
        """Start `request`; `deliver` gets every response, including errors, on the event-loop thread."""
        call = _Call(self._loop, deliver)
        self._loop.call_soon_threadsafe(call.submit, self._inside, request)
        return call.cancel

    def load_model(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        """Load a model and wait until it is loaded."""
        self._wait(self._inside.engine.load_model_inside(name, config, files))

    def unload_model(self, name: str, unload_dependents: bool) -> None:
        """Unload a model."""
        self._wait(self._inside.engine.unload_model(name, unload_dependents))

    def is_model_ready(self, name: str, version: str) -> bool:
        """Return whether the model is ready."""
        return bool(self._wait(self._inside.is_ready(name, version)))

    def is_decoupled(self, name: str, version: str) -> bool:
        """Return whether the model may send any number of responses to a request."""
        return self._inside.signature(name, version).decoupled

    def _wait(self, step: Coroutine[Any, Any, object]) -> object:
        if threading.get_ident() == self._loop_thread:
            step.close()
            raise internal("a model that runs on the event loop cannot wait for the server")
        return asyncio.run_coroutine_threadsafe(step, self._loop).result()
