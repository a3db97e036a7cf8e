"""`slipway.Client`: requests to a server, for threads."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from types import TracebackType
from typing import Any, Final, Self, TypeVar, Unpack

from slipway.client.calls import Pause, Steps
from slipway.client.messages import Asked, IndexRow, ModelInfo, ServerInfo
from slipway.client.opening import ClientKeywords, InferKeywords, infer_options, open_server
from slipway.client.result import InferResult
from slipway.client.transport import CUT_OFF
from slipway.core.request import InferResponse
from slipway.errors import SlipwayError, unavailable

NO_FILES: Final[Mapping[str, bytes]] = {}
T = TypeVar("T")


class Client:
    """A client of one server: `Client("localhost:8001")` is gRPC, `Client("http://localhost:8000")` HTTP.

    The schemes are grpc (the default), grpcs, http and https. Connects when it is first used; any number of threads may
    share one. Settings:

    - `headers`: sent with every request; `api_key`: sent as `Authorization: Bearer KEY`.
    - `timeout`: seconds that a call may take, retries included (default: 60).
    - `retries`: how often a call is sent again that the server could not take, with growing pauses (default: 3). A
      request of a sequence is sent once.
    - `ca_certificate`, `client_certificate`, `client_key`: PEM files; `verify=False` accepts any certificate (HTTP).

    Every error is a `SlipwayError`: UNAVAILABLE if no answer came in time, INVALID_ARG for what the server or this
    client refuses, NOT_FOUND for an unknown model, else the server's code.
    """

    def __init__(self, url: str = "localhost:8001", **settings: Unpack[ClientKeywords]) -> None:
        opened = open_server(url, settings)
        self._calls = opened.calls
        self._transport = opened.transport()

    # Inference

    def infer(self, model: str, inputs: Mapping[str, Any], **options: Unpack[InferKeywords]) -> InferResult:
        """Return the response to one request.

        `inputs` are numpy arrays, sent as they are; or numbers, texts and lists of them, which become what the model
        declares. Dimensions of size 1 may be left out of lists: `["a", "b"]` is [2, 1] for a model that takes [-1, 1].

        Options: `version`, `outputs` (names; default: all), `parameters`, `request_id`, `priority`, `sequence_id` with
        `sequence_start` and `sequence_end`, and `timeout` in seconds.
        """
        return self._run(self._calls.infer(model, inputs, infer_options(options)))

    def infer_text(self, model: str, texts: str | Sequence[str], **options: Unpack[InferKeywords]) -> InferResult:
        """Return the response to texts, one row each, given to the model's only string input."""
        return self._run(self._calls.infer_text(model, texts, infer_options(options)))

    def stream(
        self, model: str, inputs: Mapping[str, Any], **options: Unpack[InferKeywords]
    ) -> Generator[InferResult, None, None]:
        """Yield each response of a decoupled model as it arrives; closing the generator cancels the request.

        A `timeout` is for the whole stream; without one, it may last for ever.
        """
        asked, seconds = self._run(self._calls.stream(model, inputs, infer_options(options)))
        return self._responses(asked, seconds)

    def _responses(self, asked: Asked[InferResponse], seconds: float) -> Generator[InferResult, None, None]:
        deadline = time.monotonic() + seconds
        attempt = 0
        while True:
            answered = False
            try:
                for result in self._once(asked, deadline - time.monotonic()):
                    answered = True
                    yield result
            except SlipwayError as error:
                pause = self._calls.pause_after(error, attempt, deadline - time.monotonic())
                if answered or pause is None or asked.outgoing.once:
                    raise
            else:
                return
            attempt += 1
            time.sleep(pause)

    def _once(self, asked: Asked[InferResponse], seconds: float) -> Iterator[InferResult]:
        with closing(self._transport.stream(asked.outgoing, seconds)) as answers:
            for incoming in answers:
                response = asked.read(incoming)
                if not response.empty:
                    yield InferResult(response)
                if response.final:
                    return
        if asked.has_final:
            raise unavailable(CUT_OFF)

    # The server and its models

    def is_live(self) -> bool:
        """Return whether a server answers and is live."""
        return self._run(self._calls.is_live())

    def is_ready(self, model: str = "", version: str = "") -> bool:
        """Return whether the server, or a model of it, is ready."""
        return self._run(self._calls.is_ready(model, version))

    def wait_ready(self, model: str = "", version: str = "", *, timeout: float = 60.0) -> None:
        """Return when the server, or a model of it, is ready; raise UNAVAILABLE after `timeout` seconds."""
        self._run(self._calls.wait_ready(model, version, timeout))

    def server_info(self) -> ServerInfo:
        """Return the server's name, version and extensions."""
        return self._run(self._calls.server())

    def model_info(self, model: str, version: str = "") -> ModelInfo:
        """Return a model's inputs, outputs and versions; asked for once, until the model is loaded through here."""
        return self._run(self._calls.model(model, version))

    def model_config(self, model: str, version: str = "") -> dict[str, Any]:
        """Return a model's configuration, with the names of config.pbtxt."""
        return self._run(self._calls.config(model, version))

    def statistics(self, model: str = "", version: str = "") -> list[dict[str, Any]]:
        """Return the counters of a model version, of a model's versions, or of all models."""
        return self._run(self._calls.statistics(model, version))

    def index(self, *, ready_only: bool = False) -> list[IndexRow]:
        """Return the models of the repositories with their states."""
        return self._run(self._calls.index(ready_only=ready_only))

    def load(
        self, model: str, config: str | Mapping[str, Any] | None = None, files: Mapping[str, bytes] = NO_FILES
    ) -> None:
        """Load or reload a model, with another configuration (JSON or a mapping) and files if they are given."""
        self._run(self._calls.load(model, config, files))

    def unload(self, model: str, *, unload_dependents: bool = False) -> None:
        """Begin to unload a model, and with `unload_dependents` the models that only it needs."""
        self._run(self._calls.unload(model, unload_dependents=unload_dependents))

    # Life

    def close(self) -> None:
        """Close the connections; harmless a second time."""
        self._transport.close()

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""
        self.close()

    def _run(self, steps: Steps[T]) -> T:
        """Take the steps of an operation, and return its result."""
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                    step = steps.send(None)
                    continue
                try:
                    incoming = self._transport.send(step.outgoing, step.timeout)
                except SlipwayError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(incoming)
        except StopIteration as end:
            result: T = end.value
            return result
