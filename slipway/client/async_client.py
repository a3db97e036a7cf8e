"""`slipway.AsyncClient`: requests to a server, for asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from slipway.client.calls import Pause, Steps
from slipway.client.client import NO_FILES
from slipway.client.messages import Asked, IndexRow, ModelInfo, ServerInfo
from slipway.client.opening import ClientKeywords, InferKeywords, infer_options, open_server
from slipway.client.result import InferResult
from slipway.client.transport import CLOSED, CUT_OFF, AsyncTransport
from slipway.core.request import InferResponse
from slipway.errors import SlipwayError, unavailable

T = TypeVar("T")


class AsyncClient:
    """`Client` for asyncio: the same address, settings, options, results and errors, with `await` and `async for`.

    Belongs to the event loop that uses it first. Cancelling a call, or closing a stream, cancels the request.
    """

    def __init__(self, url: str = "localhost:8001", **settings: Unpack[ClientKeywords]) -> None:
        opened = open_server(url, settings)
        self._calls = opened.calls
        self._opened = opened
        self._carrier: AsyncTransport | None = None
        self._is_closed = False

    # Inference

    async def infer(self, model: str, inputs: Mapping[str, Any], **options: Unpack[InferKeywords]) -> InferResult:
        """Return the response to one request.

        `inputs` are numpy arrays, sent as they are; or numbers, texts and lists of them, which become what the model
        declares. Dimensions of size 1 may be left out of lists: `["a", "b"]` is [2, 1] for a model that takes [-1, 1].

        Options: `version`, `outputs` (names; default: all), `parameters`, `request_id`, `priority`, `sequence_id` with
        `sequence_start` and `sequence_end`, and `timeout` in seconds.
        """
        return await self._run(self._calls.infer(model, inputs, infer_options(options)))

    async def infer_text(self, model: str, texts: str | Sequence[str], **options: Unpack[InferKeywords]) -> InferResult:
        """Return the response to texts, one row each, given to the model's only string input."""
        return await self._run(self._calls.infer_text(model, texts, infer_options(options)))

    async def stream(
        self, model: str, inputs: Mapping[str, Any], **options: Unpack[InferKeywords]
    ) -> AsyncGenerator[InferResult, None]:
        """Yield each response of a decoupled model as it arrives; closing the generator cancels the request.

        A `timeout` is for the whole stream; without one, it may last for ever.
        """
        asked, seconds = await self._run(self._calls.stream(model, inputs, infer_options(options)))
        deadline = time.monotonic() + seconds
        attempt = 0
        while True:
            answered = False
            try:
                async with aclosing(self._once(asked, deadline - time.monotonic())) as results:
                    async for result in results:
                        answered = True
                        yield result
            except SlipwayError as error:
                pause = self._calls.pause_after(error, attempt, deadline - time.monotonic())
                if answered or pause is None or asked.outgoing.once:
                    raise
            else:
                return
            attempt += 1
            await asyncio.sleep(pause)

    async def _once(self, asked: Asked[InferResponse], seconds: float) -> AsyncGenerator[InferResult, None]:
        async with aclosing(self._transport().stream(asked.outgoing, seconds)) as answers:
            async for incoming in answers:
                response = asked.read(incoming)
                if not response.empty:
                    yield InferResult(response)
                if response.final:
                    return
        if asked.has_final:
            raise unavailable(CUT_OFF)

    # The server and its models

    async def is_live(self) -> bool:
        """Return whether a server answers and is live."""
        return await self._run(self._calls.is_live())

    async def is_ready(self, model: str = "", version: str = "") -> bool:
        """Return whether the server, or a model of it, is ready."""
        return await self._run(self._calls.is_ready(model, version))

    async def wait_ready(
        self,
        model: str = "",
        version: str = "",
        *,
        timeout: float = 60.0,  # noqa: ASYNC109  as `Client`'s
    ) -> None:
        """Return when the server, or a model of it, is ready; raise UNAVAILABLE after `timeout` seconds."""
        await self._run(self._calls.wait_ready(model, version, timeout))

    async def server_info(self) -> ServerInfo:
        """Return the server's name, version and extensions."""
        return await self._run(self._calls.server())

    async def model_info(self, model: str, version: str = "") -> ModelInfo:
        """Return a model's inputs, outputs and versions; asked for once, until the model is loaded through here."""
        return await self._run(self._calls.model(model, version))

    async def model_config(self, model: str, version: str = "") -> dict[str, Any]:
        """Return a model's configuration, with the names of config.pbtxt."""
        return await self._run(self._calls.config(model, version))

    async def statistics(self, model: str = "", version: str = "") -> list[dict[str, Any]]:
        """Return the counters of a model version, of a model's versions, or of all models."""
        return await self._run(self._calls.statistics(model, version))

    async def index(self, *, ready_only: bool = False) -> list[IndexRow]:
        """Return the models of the repositories with their states."""
        return await self._run(self._calls.index(ready_only=ready_only))

    async def load(
        self, model: str, config: str | Mapping[str, Any] | None = None, files: Mapping[str, bytes] = NO_FILES
    ) -> None:
        """Load or reload a model, with another configuration (JSON or a mapping) and files if they are given."""
        await self._run(self._calls.load(model, config, files))

    async def unload(self, model: str, *, unload_dependents: bool = False) -> None:
        """Begin to unload a model, and with `unload_dependents` the models that only it needs."""
        await self._run(self._calls.unload(model, unload_dependents=unload_dependents))

    # Life

    async def close(self) -> None:
        """Close the connections; harmless a second time."""
        self._is_closed = True
        carrier, self._carrier = self._carrier, None
        if carrier is not None:
            await carrier.close()

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""
        await self.close()

    def _transport(self) -> AsyncTransport:
        """Return what carries the calls, made on the loop that it belongs to."""
        if self._is_closed:
            raise unavailable(CLOSED)
        if self._carrier is None:
            self._carrier = self._opened.async_transport()
        return self._carrier

    async def _run(self, steps: Steps[T]) -> T:
        """Take the steps of an operation, and return its result."""
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    step = steps.send(None)
                    continue
                try:
                    incoming = await self._transport().send(step.outgoing, step.timeout)
                except SlipwayError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(incoming)
        except StopIteration as end:
            result: T = end.value
            return result
