"""What a client does, as steps: calls to send and pauses to make, whoever waits. Pure, apart from the given clock.

Each method is a generator: it yields a `Send` or a `Pause`, gets the answer of the call, or has its error thrown in,
and returns the result. So the clients for threads and for asyncio share all decisions: retries, deadlines, caching.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import orjson

from slipway.client.endpoint import Endpoint
from slipway.client.inputs import needs_declaration, tensors_of, text_input
from slipway.client.messages import (
    Asked,
    Codec,
    Incoming,
    IndexRow,
    ModelInfo,
    Outgoing,
    ServerInfo,
    ServerQuestion,
    typed,
)
from slipway.client.result import InferResult
from slipway.core.request import SEQUENCE_END, SEQUENCE_START, InferRequest, InferResponse, Parameter
from slipway.errors import Code, SlipwayError, invalid, shown, unavailable

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0
_POLL_S: Final = 0.2
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Send:
    """Send a call, and wait up to `timeout` seconds for its answer."""

    outgoing: Outgoing
    timeout: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait."""

    seconds: float


Steps = Generator[Send | Pause, Incoming | None, T]


@dataclass(frozen=True, slots=True)
class InferOptions:
    """What a request may say besides its inputs; `Client.infer` documents the fields."""

    version: str = ""
    outputs: Sequence[str] = ()
    parameters: Mapping[str, Parameter] | None = None
    request_id: str = ""
    priority: int = 0
    sequence_id: int | str = 0
    sequence_start: bool = False
    sequence_end: bool = False
    timeout: float | None = None

    def __post_init__(self) -> None:
        """Check what a server could misunderstand."""
        if isinstance(self.outputs, str):
            raise invalid(f"outputs is a sequence of names: [{self.outputs!r}]")
        if not self.sequence_id and (self.sequence_start or self.sequence_end):
            raise invalid("sequence_start and sequence_end need a sequence_id")
        for key, value in (self.parameters or {}).items():
            if not isinstance(key, str) or not isinstance(value, str | int | float | bool):
                raise invalid(f"parameter {shown(key)!r} is a {type(value).__name__}, expected str, int, float or bool")


class Calls:
    """The operations of a client. `timeout` is the seconds that an operation may take, `retries` how often one that the
    server could not take (UNAVAILABLE) is tried again."""

    def __init__(
        self,
        codec: Codec,
        endpoint: Endpoint,
        *,
        timeout: float,
        retries: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        _check_timeout(timeout)
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
            raise invalid(f"retries is {retries!r}, expected a whole number from 0")
        self._codec = codec
        self._endpoint = endpoint
        self._timeout = timeout
        self._retries = retries
        self._clock = clock
        self._models: dict[tuple[str, str], ModelInfo] = {}

    # Inference

    def infer(self, model: str, inputs: Mapping[str, Any], options: InferOptions) -> Steps[InferResult]:
        """Return the response to one request."""
        deadline = self._deadline(options.timeout)
        info = (yield from self._info(model, options.version, deadline)) if needs_declaration(inputs) else None
        request = _request(model, inputs, info, options)
        return (yield from self._infer(request, deadline))

    def infer_text(self, model: str, texts: str | Sequence[str], options: InferOptions) -> Steps[InferResult]:
        """Return the response to texts, given to the model's only string input."""
        deadline = self._deadline(options.timeout)
        info = yield from self._info(model, options.version, deadline)
        request = _request(model, text_input(info, texts), info, options)
        return (yield from self._infer(request, deadline))

    def _infer(self, request: InferRequest, deadline: float) -> Steps[InferResult]:
        again = not request.correlation_id  # a request of a sequence that was lost may have been executed
        try:
            return InferResult((yield from self._ask(self._codec.infer(request), deadline, again=again)))
        except SlipwayError as error:
            if error.code in (Code.INVALID_ARG, Code.NOT_FOUND):  # the metadata may be out of date
                self._forget(request.model_name)
            raise

    def stream(
        self, model: str, inputs: Mapping[str, Any], options: InferOptions
    ) -> Steps[tuple[Asked[InferResponse], float]]:
        """Return the call of a stream, which the client sends itself, and the seconds that it may take."""
        deadline = self._deadline(options.timeout)
        info = yield from self._info(model, options.version, deadline)
        request = _request(model, inputs, info, options)
        seconds = float("inf") if options.timeout is None else max(deadline - self._clock(), 0.001)
        return self._codec.stream(request, info), seconds

    # Questions

    def is_live(self) -> Steps[bool]:
        """Return whether a server answers and is live."""
        return self._check(ServerQuestion("live"))

    def is_ready(self, model: str, version: str) -> Steps[bool]:
        """Return whether the server, or a model of it, is ready."""
        return self._check(ServerQuestion("model_ready", model, version) if model else ServerQuestion("ready"))

    def _check(self, question: ServerQuestion) -> Steps[bool]:
        try:
            answer = yield from self._ask(self._codec.ask(question), self._deadline(None), again=False)
        except SlipwayError as error:
            if error.code in (Code.UNAVAILABLE, Code.NOT_FOUND):
                return False
            raise
        return bool(answer)

    def wait_ready(self, model: str, version: str, seconds: float) -> Steps[None]:
        """Return when the server, or a model of it, is ready; raise UNAVAILABLE after `seconds`."""
        deadline = self._clock() + seconds
        while not (yield from self.is_ready(model, version)):
            if self._clock() + _POLL_S >= deadline:
                what = f"model '{shown(model)}'" if model else "the server"
                raise unavailable(f"{what} at {self._endpoint} is not ready after {seconds:g} s")
            yield Pause(_POLL_S)

    def server(self) -> Steps[ServerInfo]:
        """Return what the server reports about itself."""
        answer = yield from self._question(ServerQuestion("server"))
        return typed(answer, ServerInfo, "the server's metadata")

    def model(self, model: str, version: str) -> Steps[ModelInfo]:
        """Return a model's metadata, asked for once."""
        return self._info(model, version, self._deadline(None))

    def config(self, model: str, version: str) -> Steps[dict[str, Any]]:
        """Return a model's configuration, with the names of config.pbtxt."""
        answer = yield from self._question(ServerQuestion("config", model, version))
        return _of_type(answer, dict, f"the configuration of model '{shown(model)}'")

    def statistics(self, model: str, version: str) -> Steps[list[dict[str, Any]]]:
        """Return the counters of a version, a model, or all models."""
        answer = yield from self._question(ServerQuestion("statistics", model, version))
        found = _of_type(answer, dict, "the statistics").get("model_stats", [])
        return _of_type(found, list, "the statistics")

    def index(self, *, ready_only: bool) -> Steps[list[IndexRow]]:
        """Return the repository index."""
        rows = yield from self._question(ServerQuestion("index", arguments={"ready": ready_only}))
        what = "the repository index"
        return [typed(row, IndexRow, what) for row in _of_type(rows or [], list, what)]

    def load(self, model: str, config: str | Mapping[str, Any] | None, files: Mapping[str, bytes]) -> Steps[None]:
        """Load or reload a model."""
        text = config if config is None or isinstance(config, str) else orjson.dumps(config).decode()
        self._forget(model)
        yield from self._question(
            ServerQuestion("load", model, arguments={"config": text, "files": files}), again=False
        )

    def unload(self, model: str, *, unload_dependents: bool) -> Steps[None]:
        """Unload a model."""
        self._forget(model)
        arguments = {"unload_dependents": unload_dependents}
        yield from self._question(ServerQuestion("unload", model, arguments=arguments), again=False)

    def _question(self, question: ServerQuestion, *, again: bool = True) -> Steps[Any]:
        return self._ask(self._codec.ask(question), self._deadline(None), again=again)

    def _info(self, model: str, version: str, deadline: float) -> Steps[ModelInfo]:
        known = self._models.get((model, version))
        if known is not None:
            return known
        if not model:
            raise invalid("the model's name is empty")
        answer = yield from self._ask(self._codec.ask(ServerQuestion("metadata", model, version)), deadline)
        info = self._models[model, version] = typed(answer, ModelInfo, f"the metadata of model '{shown(model)}'")
        return info

    def _forget(self, model: str) -> None:
        for key in [key for key in self._models if key[0] == model]:
            self._models.pop(key, None)

    # Sending

    def _deadline(self, timeout: float | None) -> float:
        if timeout is not None:
            _check_timeout(timeout)
        return self._clock() + (self._timeout if timeout is None else timeout)

    def _ask(self, asked: Asked[T], deadline: float, *, again: bool = True) -> Steps[T]:
        """Return the answer of a call, which is sent again while the server is unavailable and there is time."""
        attempt = 0
        while True:
            try:
                left = deadline - self._clock()
                if left <= 0:
                    raise unavailable(f"no answer from {self._endpoint} in time")
                incoming = yield Send(asked.outgoing, left)
                assert incoming is not None  # noqa: S101  for the type checker: a Send is answered
                return asked.read(incoming)
            except SlipwayError as error:
                pause = self.pause_after(error, attempt, deadline - self._clock())
                if pause is None or not again:
                    raise
            attempt += 1
            yield Pause(pause)

    def pause_after(self, error: SlipwayError, attempt: int, left: float) -> float | None:
        """Return the seconds to wait before a call that failed `attempt` times before is sent again, None to give up:
        with `left` seconds to the deadline, and only if the server was unavailable."""
        pause = min(_FIRST_PAUSE_S * 2.0**attempt, _LONGEST_PAUSE_S)
        if error.code is not Code.UNAVAILABLE or attempt >= self._retries or pause >= left:
            return None
        return pause


def _of_type(value: object, kind: type[T], what: str) -> T:
    if not isinstance(value, kind):
        raise unavailable(f"{what} is not of the protocol: it is a {type(value).__name__}")
    return value


def _check_timeout(timeout: object) -> None:
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < float("inf"):
        raise invalid(f"timeout is {timeout!r}, expected a positive number of seconds")


def _request(model: str, inputs: Mapping[str, Any], info: ModelInfo | None, options: InferOptions) -> InferRequest:
    if not model:
        raise invalid("the model's name is empty")
    return InferRequest(
        model,
        options.version,
        options.request_id,
        tensors_of(inputs, info),
        tuple(options.outputs),
        dict(options.parameters or {}),
        options.priority,
        correlation_id=options.sequence_id,
        flags=SEQUENCE_START * options.sequence_start | SEQUENCE_END * options.sequence_end,
    )
