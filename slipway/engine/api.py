"""What the fronts (rest/, rpc/) see of the engine. All methods are called on the event-loop thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tritonclient.grpc import model_config_pb2

from slipway.core.metrics import MetricRegistry
from slipway.core.pending import Deliver, Pending
from slipway.core.request import InferRequest, InferResponse
from slipway.core.signature import ModelSignature
from slipway.core.statistics import ModelStatistics
from slipway.problems import Problem


@dataclass(frozen=True, slots=True)
class ServerMetadata:
    """Answer to GET /v2."""

    name: str
    version: str
    extensions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """One input or output; `shape` starts with -1 where the model has a batch dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """Answer to GET /v2/models/NAME."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


@dataclass(frozen=True, slots=True)
class VersionStatistics:
    """The counters of one model version; `metric_tags` are extra metric labels from its config."""

    name: str
    version: str
    statistics: ModelStatistics
    has_response_cache: bool = False
    metric_tags: Mapping[str, str] | None = None
    is_ensemble: bool = False


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One row of the repository index; empty strings are left out on the wire, and so are the problems, which the
    reason says in words."""

    name: str
    version: str = ""
    state: str = ""  # READY, UNAVAILABLE, LOADING, UNLOADING or ""
    reason: str = ""
    problems: tuple[Problem, ...] = ()


class Dataplane(Protocol):
    """The one service object behind both transports. Version "" means "by the version policy"."""

    metrics: MetricRegistry

    def live(self) -> bool:
        """Return whether the server answers at all."""

    def ready(self) -> bool:
        """Return whether the server and, with strict readiness, every model is ready."""

    def server_metadata(self) -> ServerMetadata:
        """Return name, version and extensions."""

    async def model_ready(self, name: str, version: str) -> bool:
        """Return whether the version can serve; raise `SlipwayError` with the reason Triton would give."""

    def model_metadata(self, name: str, version: str) -> ModelMetadata:
        """Return the model's metadata; raise NOT_FOUND or UNAVAILABLE."""

    def model_config(self, name: str, version: str) -> model_config_pb2.ModelConfig:
        """Return the complete, normalised configuration."""

    def model_statistics(self, name: str, version: str) -> Sequence[VersionStatistics]:
        """Return the counters of one version, of all versions (version ""), or of all models (name "")."""

    def signature(self, name: str, version: str) -> ModelSignature:
        """Return what the version takes and gives."""

    def submit(self, request: InferRequest, deliver: Deliver) -> Pending:
        """Accept a request; each answer (errors of execution too) goes to `deliver` on this thread, possibly before
        this returns. Raise `SlipwayError` when it is refused at once."""

    async def infer(self, request: InferRequest) -> InferResponse:
        """Return the one answer of a request to a model that is not decoupled; raise `SlipwayError` for a failed one.
        Cancelling the awaiting task cancels the request."""

    def repository_index(self, ready_only: bool) -> Sequence[IndexEntry]:
        """Return every model the repositories hold, with its state."""

    async def load_model(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        """Load or reload a model (explicit mode); `config` is a JSON ModelConfig, `files` are by relative path. Goes on
        to its end when the awaiting task is cancelled, as does `unload_model`: half a load helps nobody."""

    async def unload_model(self, name: str, unload_dependents: bool) -> None:
        """Start unloading a model (explicit mode)."""

    def record_rejected(self, name: str, version: str) -> None:
        """Count a request that a front could not decode as a failure of the model, if it exists."""
