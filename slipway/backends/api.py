"""The seam between the server and the code that executes a model.

A backend is found by its name in config.pbtxt (`backends/registry.py`) and imported when a model first needs it. It
loads a version once; every instance of that version opens an `Executor` on the same loaded model, so weights are
shared. Nothing here knows schedulers or transports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, Protocol, runtime_checkable

from tritonclient.grpc import model_config_pb2

from slipway.core.metrics import MetricRegistry
from slipway.core.pending import Deliver, Pending
from slipway.core.request import InferRequest, InferResponse
from slipway.core.signature import ModelSignature


class Placement(Enum):
    """Where an executor runs."""

    INLINE = "inline"  # on the event loop: only for work of microseconds that never blocks
    THREAD = "thread"  # in a thread of its own; the library releases the GIL
    PROCESS = "process"  # in a child process of its own


@dataclass(frozen=True, slots=True)
class ModelContext:
    """What a backend is given about the version it loads. `config` is complete and normalised."""

    name: str
    version: int
    model_directory: Path  # <repository>/<model>
    version_directory: Path  # <repository>/<model>/<version>
    config: model_config_pb2.ModelConfig
    signature: ModelSignature
    backend_config: Mapping[str, str]  # --backend-config settings of this backend
    threads: int  # CPU threads one instance may use
    host: Host


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """One execution slot: `name` is Triton's instance name (<group>_<index>)."""

    name: str
    index: int  # over all groups of the model, from 0
    kind: str  # "CPU", "GPU", "MODEL": what it runs on here
    device_id: int = 0
    group: int = 0  # position of its group in the config
    cpus: frozenset[int] = frozenset()  # that it runs on, by its host policy; none means any


@dataclass(slots=True)
class Execution:
    """The result of one execution: an answer per request (None: it answers through `Pending.send` itself) and two clock
    readings (monotonic ns): inputs ready, outputs being made."""

    responses: Sequence[InferResponse | None]
    input_end: int
    output_start: int


class Executor(Protocol):
    """One instance of a loaded model."""

    def execute(self, batch: Sequence[Pending]) -> Execution:
        """Run the batch. Raise when the batch as a whole failed: a `SlipwayError` with the reason, if it is known."""

    def check_ready(self) -> None:
        """Raise `SlipwayError` when the instance cannot serve now."""

    def close(self) -> None:
        """Release what the instance holds."""


@runtime_checkable
class Stateless(Protocol):
    """An executor whose answers depend on nothing but the request, and that answers only by returning.

    When a batch fails, its requests are executed again one by one (`instances/execution.py`), so that a bad request
    fails alone. An executor whose model keeps state, or may have sent an answer already, does not declare this.
    """

    stateless: Literal[True]


class LoadedModel(Protocol):
    """One loaded version: the weights, shared by its instances."""

    placement: Placement

    def open(self, instance: InstanceSpec) -> Executor:
        """Return an executor on the shared weights (not called for `Placement.PROCESS`)."""

    def unload(self) -> None:
        """Release the weights; called after every executor is closed."""


@runtime_checkable
class CompilesShapes(Protocol):
    """A loaded model whose library compiles for each new input shape, which makes the first request of a shape slow.

    Running every instance at the same time on a shape prepares it (`engine/preparation.py`).
    """

    compiles_shapes: bool


@runtime_checkable
class KeepsLoaded(Protocol):
    """A loaded model that does not depend on which instances there are. If a new config differs only in its instance
    groups, the model is kept, with the instances that both have, and only the others are opened and closed."""

    keeps_loaded: bool


class Backend(Protocol):
    """One way to run models, known by its name in config.pbtxt. Methods may block; they run in a load thread."""

    def complete(self, config: model_config_pb2.ModelConfig, context: CompletionContext) -> None:
        """Fill in place, from the model file, what `config` leaves out. Raise `SlipwayError` on a contradiction."""

    def load(self, context: ModelContext) -> LoadedModel:
        """Load one version. Raise `SlipwayError`, which says what to do, when it cannot be loaded."""


NO_BACKENDS: Final[Mapping[str, Backend]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class CompletionContext:
    """What auto-completion may read; `version_directory` is that of the highest version."""

    model_directory: Path
    version_directory: Path | None
    default_max_batch_size: int
    backend_config: Mapping[str, str] = field(default_factory=dict)


class Host(Protocol):
    """What the server offers to the models it runs (BLS, model control, metrics). Every method is thread-safe."""

    metrics: MetricRegistry

    def submit(self, request: InferRequest, deliver: Deliver) -> Callable[[], None]:
        """Start `request` on the server's own dataplane; return a function that cancels it. Errors are delivered."""

    def load_model(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        """Load a model and wait for it. Raise `SlipwayError`."""

    def unload_model(self, name: str, unload_dependents: bool) -> None:
        """Unload a model. Raise `SlipwayError`."""

    def is_model_ready(self, name: str, version: str) -> bool:
        """Return whether the model (version "" for any) is ready."""

    def is_decoupled(self, name: str, version: str) -> bool:
        """Return whether a request may get any number of responses. Raise `SlipwayError` for an unknown model."""
