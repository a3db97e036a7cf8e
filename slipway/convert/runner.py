"""Run the model in a directory through its backend, as the server would, but without a server.

So the model that is verified and measured is the one that is served: same config, backend and session options.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from time import monotonic_ns
from typing import Self

from slipway.backends.api import Executor, Host, InstanceSpec, LoadedModel, ModelContext, Placement
from slipway.backends.registry import find_backend
from slipway.config.normalise import normalise
from slipway.config.parse import parse_config
from slipway.config.signature import build_signature
from slipway.config.validate import validate
from slipway.convert.arrays import Arrays
from slipway.core.metrics import MetricRegistry
from slipway.core.pending import Deliver, Pending
from slipway.core.request import InferRequest, InferResponse
from slipway.core.tensor import Tensor
from slipway.cores import cpu_limit
from slipway.errors import invalid, refused, unsupported
from slipway.instances.plan import instance_specs, threads_per_instance


class _NoServer:
    """A host without services: a model under conversion does not call other models."""

    def __init__(self) -> None:
        self.metrics = MetricRegistry()

    def submit(self, request: InferRequest, deliver: Deliver) -> Callable[[], None]:  # noqa: ARG002
        """Refuse."""
        raise unsupported(f"model '{request.model_name}' cannot be called during a conversion")

    def load_model(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:  # noqa: ARG002
        """Refuse."""
        raise unsupported(f"model '{name}' cannot be loaded during a conversion")

    def unload_model(self, name: str, unload_dependents: bool) -> None:  # noqa: ARG002
        """Refuse."""
        raise unsupported(f"model '{name}' cannot be unloaded during a conversion")

    def is_model_ready(self, name: str, version: str) -> bool:  # noqa: ARG002
        """Return False: there are no other models."""
        return False

    def is_decoupled(self, name: str, version: str) -> bool:  # noqa: ARG002
        """Refuse."""
        raise unsupported(f"model '{name}' cannot be called during a conversion")


class _NoLoop:
    """Stands in for the event loop and runs callbacks immediately, because no task waits for the responses."""

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: object) -> object:
        """Run the callback immediately."""
        return callback(*args)


class _Answer:
    """The last response to a request that is not empty."""

    def __init__(self) -> None:
        self._response: InferResponse | None = None
        self._ended = Event()

    def take(self, response: InferResponse) -> None:
        """Keep a response."""
        if not response.empty:
            self._response = response
        if response.final:
            self._ended.set()

    def wait(self) -> InferResponse | None:
        """Return the response once the model has sent the last one."""
        self._ended.wait()
        return self._response


@dataclass(slots=True)
class OpenModel:
    """A loaded model with its instances; `run` may be called on different instances at the same time. `directory` has
    its config and its version."""

    name: str
    directory: Path
    loaded: LoadedModel
    executors: Sequence[Executor]

    def run(self, inputs: Arrays, instance: int = 0) -> Arrays:
        """Return all outputs; raise `SlipwayError` if the model fails."""
        return self.run_together([inputs], instance)[0]

    def run_together(self, requests: Sequence[Arrays], instance: int = 0) -> list[Arrays]:
        """Execute all requests as one batch and return the outputs of each; raise `SlipwayError` if one fails."""
        answers = [_Answer() for _ in requests]
        batch = tuple(self._pending(*each) for each in zip(requests, answers, strict=True))
        returned = self.executors[instance].execute(batch).responses
        outputs = []
        for own, sent in zip(returned, answers, strict=True):
            response = own or sent.wait()  # some models send their responses themselves, maybe later
            if response is None or response.error is not None:
                raise invalid("it sent no response") if response is None or response.error is None else response.error
            outputs.append({tensor.name: tensor.array for tensor in response.outputs})
        return outputs

    def _pending(self, inputs: Arrays, answer: _Answer) -> Pending:
        tensors = {name: Tensor.from_array(name, array) for name, array in inputs.items()}
        rows = next(iter(inputs.values())).shape[0] if inputs else 1
        request = InferRequest(self.name, inputs=tensors)
        return Pending(request, rows, monotonic_ns(), _NoLoop(), answer.take)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close all instances and unload the model."""
        for executor in self.executors:
            executor.close()
        self.loaded.unload()


def open_model(directory: Path) -> OpenModel:
    """Load version 1 of the model in `directory` with its own config; raise `SlipwayError` as the server would."""
    config = parse_config((directory / "config.pbtxt").read_text(), f"{directory.name}/config.pbtxt")
    normalise(config)
    problems = validate(config, directory)
    if problems:
        raise refused(*problems)
    host: Host = _NoServer()
    context = ModelContext(
        name=config.name,
        version=1,
        model_directory=directory,
        version_directory=directory / "1",
        config=config,
        signature=build_signature(config, directory),
        backend_config={},
        threads=threads_per_instance(config, cpu_limit()),
        host=host,
    )
    loaded = find_backend(config.backend).load(context)
    if loaded.placement is not Placement.THREAD:
        raise unsupported(f"backend '{config.backend}' cannot be measured without a server")
    specs: list[InstanceSpec] = instance_specs(config, warn=False)
    return OpenModel(config.name, directory, loaded, [loaded.open(spec) for spec in specs])
