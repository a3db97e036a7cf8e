"""`slipway.Server`: the server of `slipway serve` inside a Python program, with the program's functions as models."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import RLock, Thread, current_thread, main_thread
from types import TracebackType
from typing import Any, Final, Self, TypeVar, Unpack, overload

from slipway.backends.function.backend import FunctionBackend, Key
from slipway.backends.function.bound_model import BACKEND, BoundModel, ModelKeywords, ModelSettings, bind
from slipway.backends.function.occupied import CALL, occupied_by
from slipway.backends.function.tensor_type import Declared
from slipway.config.options import ServerOptions
from slipway.errors import Code, SlipwayError, invalid, unavailable
from slipway.nearest import nearest_or_all
from slipway.program.bound_repository import BoundRepository
from slipway.program.keyword_options import check_names, read_options
from slipway.program.life import ServerLife
from slipway.server import GRPC_SERVICE

_PLACE: Final = "bound-models"  # stands for the directory that `start` makes
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  where a client finds it
Target = TypeVar("Target", bound=Callable[..., Any])


class Server:
    """A server in this process: `Server("models", http_port=0)`.

    `repositories` are model repositories, as many as there are, or none. The options are the flags of `slipway serve`
    with underscores, and are checked in the same way: `grpc_port=8001`, `model_control_mode="explicit"`,
    `backend_config={"openvino": {"NUM_STREAMS": 2}}`. Port 0 lets the system choose; `http_port`, `grpc_port` and
    `metrics_port` say which it is. Log records go to Python's logger `slipway`.

        server = slipway.Server(http_port=0)

        @server.model(inputs=[TensorType(np.float32, -1)], outputs=[TensorType(np.float32, -1)], max_batch_size=64)
        def double(x):
            return 2 * x

        with server:                    # in a thread; `async with` in a coroutine, so that the loop goes on
            ...

        server.run()                    # or: until SIGTERM, SIGINT or SIGHUP, in the main thread

    Raises `SlipwayError` with code INVALID_ARG for an unknown or invalid option.
    """

    def __init__(self, *repositories: str | os.PathLike[str], **options: Any) -> None:
        check_names(options)
        self._options = read_options((*(os.fspath(path) for path in repositories), _PLACE), options)
        self._models: dict[Key, BoundModel] = {}
        self._changing = RLock()
        self._repository: BoundRepository | None = None
        self._life: ServerLife | None = None

    # Models

    @overload
    def model(self, target: Target, /) -> Target: ...

    @overload
    def model(
        self,
        *,
        name: str = "",
        version: int = 1,
        inputs: Declared | None = None,
        outputs: Declared | None = None,
        **settings: Unpack[ModelKeywords],
    ) -> Callable[[Target], Target]: ...

    def model(  # type: ignore[misc]  # mypy does not see that the keywords are the same
        self,
        target: Target | None = None,
        /,
        *,
        name: str = "",
        version: int = 1,
        inputs: Declared | None = None,
        outputs: Declared | None = None,
        **settings: Unpack[ModelKeywords],
    ) -> Target | Callable[[Target], Target]:
        """Bind a function, a callable object or a class as a model, and return it unchanged; a decorator.

        The function gets each input by name as a numpy array, and returns a dict by output name, a tuple in the order
        of the outputs, or the only output. With `max_batch_size`, the first axis is the batch: the rows of all requests
        that run together. A generator function, async or not, is a decoupled model: each item is a response. A class
        has `__call__`, and may have `setup`, which is called once per instance, and `close`.

        - `name`: default: the function's. `version`: a model may have several, with the same configuration.
        - `inputs`, `outputs`: `TensorType`s; default: from annotations, `Annotated[np.ndarray, TensorType(...)]`.
        - `max_batch_size`: maximum rows of a batch; 0 is a model without a batch axis.
        - `batching`: merge requests; `max_queue_delay_us`: how long to wait for more; `preferred_batch_sizes`.
        - `instances`: calls at the same time, each in its own thread.
        - `stateless`: a batch that fails is called again request by request, so that only the bad one fails.
        - `stream`: whether it is decoupled; default: whether it is a generator function.
        - `config`: further fields in the format of config.pbtxt, such as "response_cache { enable: true }".

        What it raises is the error of that request: of a `SlipwayError` with its code, else INTERNAL. A model that is
        bound while the server runs is loaded at once. Raises `SlipwayError`, INVALID_ARG, for what cannot be served.
        """
        chosen = _settings(settings)

        def decorate(function: Target) -> Target:
            bound = bind(function, name=name, version=version, inputs=inputs, outputs=outputs, settings=chosen)
            self._add(bound)
            return function

        return decorate if target is None else decorate(target)

    def _add(self, model: BoundModel) -> None:
        if (step := occupied_by(self._models)) not in ("", CALL):
            raise invalid(
                f"model '{model.name}' is bound in the {step} of a model of the same server, which would wait for "
                "itself: bind it before the server starts"
            )
        key = model.name, model.version
        with self._changing:
            if key in self._models:
                raise SlipwayError(
                    Code.ALREADY_EXISTS, f"version {model.version} of model '{model.name}' is bound twice"
                )
            if any(each.config != model.config for each in self._models.values() if each.name == model.name):
                raise invalid(f"model '{model.name}': its versions are declared differently")
            self._models[key] = model
            if self._repository is None or self._life is None:
                return
            self._life.begun.wait()  # what `run` has begun may have looked at the repository already
            if not self._life.serves:
                return
            try:
                self._repository.add(model)
                self._life.load(model.name)
            except (SlipwayError, OSError):
                del self._models[key]
                self._repository.remove(model)
                raise

    # Life

    def start(self) -> Self:
        """Load the models and serve in a thread of its own; return when requests are answered.

        Raise `SlipwayError` if that fails: INTERNAL for models that do not load, with the reasons, unless
        `exit_on_error` is False; UNAVAILABLE for a port that is taken, or if it was stopped meanwhile.
        """
        self._require_free("start")
        with self._changing, self._one_life() as life:
            Thread(target=life.run, name="slipway-server", daemon=True).start()
            try:
                life.begun.wait()
            except BaseException:  # KeyboardInterrupt
                life.stop()
                raise
            if life.failure is not None:
                raise life.failure
            if not life.serves:
                raise unavailable("the server was stopped while it started")
        return self

    def stop(self) -> None:
        """Answer the accepted requests within `exit_timeout_secs`, then release everything; harmless if not running.

        Raise UNAVAILABLE if requests were lost, or if a function still blocks its thread.
        """
        self._require_free("stop")
        life = self._life
        if life is not None:
            life.stop()
            self._wait(life)

    def wait(self) -> None:
        """Return when the server has stopped; raise what made it fail."""
        self._require_free("wait")
        if self._life is not None:
            self._wait(self._life)

    def run(self) -> None:
        """Serve in the main thread until SIGTERM, SIGINT or SIGHUP, or `stop` from another thread.

        As for `slipway serve`, a second signal ends the process at once, and so does a drain that takes too long.
        """
        if current_thread() is not main_thread():
            raise invalid("Server.run handles signals, which only the main thread can: use start() in other threads")
        if _loop_runs():
            raise invalid("Server.run would block the running event loop: use 'async with server'")
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        try:
            with self._changing:
                life = self._begin()
            life.run(signals=True)
            self._wait(life)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    async def __aenter__(self) -> Self:
        """Start, while the running loop goes on."""
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, while the running loop goes on."""
        await asyncio.to_thread(self.stop)

    def _require_free(self, method: str) -> None:
        """Raise INVALID_ARG in the code of a model that the server has, for which `method` would wait."""
        if occupied_by(self._models):
            raise invalid(f"Server.{method} waits for the server's models, so none of them can call it")

    @contextmanager
    def _one_life(self) -> Iterator[ServerLife]:
        """Begin a life; if the block fails, wait for its end."""
        life = self._begin()
        try:
            yield life
        except BaseException:
            life.ended.wait()
            self._forget(life)
            raise

    def _begin(self) -> ServerLife:
        if self._life is not None:
            raise invalid("the server is already running")
        self._repository = BoundRepository(self._models.values())
        options = self._with_models(self._repository.path)
        self._life = ServerLife(options, {BACKEND: FunctionBackend(self._models)})
        return self._life

    def _with_models(self, directory: Path) -> ServerOptions:
        options = self._options
        repositories = tuple(directory if each == Path(_PLACE) else each for each in options.model_repository)
        load = options.load_model
        if options.model_control_mode == "explicit" and "*" not in load:  # bound models serve in every mode
            load = tuple(dict.fromkeys([*load, *(name for name, _ in self._models)]))
        return replace(options, model_repository=repositories, load_model=load)

    def _wait(self, life: ServerLife) -> None:
        life.ended.wait()
        self._forget(life)
        if life.failure is not None:
            raise life.failure

    def _forget(self, life: ServerLife) -> None:
        with self._changing:
            if self._life is life:
                self._life = None
                if self._repository is not None:
                    self._repository.close()
                    self._repository = None

    # Where it is

    @property
    def is_running(self) -> bool:
        """Whether requests are answered."""
        return self._life is not None and self._life.serves

    @property
    def http_port(self) -> int:
        """The port of HTTP; raise UNAVAILABLE unless it is served."""
        return self._port("HTTPService")

    @property
    def grpc_port(self) -> int:
        """The port of gRPC; raise UNAVAILABLE unless it is served."""
        return self._port(GRPC_SERVICE)

    @property
    def metrics_port(self) -> int:
        """The port of the metrics; raise UNAVAILABLE unless they are served."""
        return self._port("Metrics Service")

    @property
    def http_url(self) -> str:
        """The address of HTTP for a client on this machine, such as "http://127.0.0.1:8000"."""
        options = self._options
        scheme = "https" if options.http_use_ssl or options.http_use_ssl_mutual else "http"
        return f"{scheme}://{_reached(options.http_address)}:{self.http_port}"

    @property
    def grpc_url(self) -> str:
        """The address of gRPC for a client on this machine, such as "127.0.0.1:8001"."""
        options = self._options
        scheme = "grpcs://" if options.grpc_use_ssl or options.grpc_use_ssl_mutual else ""
        return f"{scheme}{_reached(options.grpc_address)}:{self.grpc_port}"

    def _port(self, front: str) -> int:
        if self._life is None or not self._life.serves:
            raise unavailable("the server is not running")
        if front not in self._life.ports:
            raise unavailable(f"the server does not serve {front}: its options turn it off")
        return self._life.ports[front]


def _settings(given: Mapping[str, Any]) -> ModelSettings:
    """Return the settings of a bound model; raise INVALID_ARG, with the nearest name, for an unknown argument."""
    names = ModelSettings.__slots__
    for name in given:
        if name not in names:
            known = ("name", "version", "inputs", "outputs", *names)
            raise invalid(f"Server.model has no argument '{name}'{nearest_or_all(name, known)}")
    return ModelSettings(**given)


def _reached(address: str) -> str:
    host = _ANY_ADDRESS.get(address, address)
    return f"[{host}]" if ":" in host else host


def _loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
