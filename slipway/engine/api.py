"""The engine's interface to the fronts (rest/, rpc/). All methods are called on the event-loop thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tritonclient.grpc import model_config_pb2

from slipway.core.log_settings import LogSettings
from slipway.core.metrics import MetricRegistry
from slipway.core.pending import Deliver, Pending
from slipway.core.request import InferRequest, InferResponse
from slipway.core.signature import ModelSignature
from slipway.core.statistics import ModelStatistics
from slipway.problems import Problem
from slipway.regions.registry import Regions
from slipway.response_cache.api import CacheReport
from slipway.tracing.settings import Given
from slipway.tracing.tracing import Tracing


@dataclass(frozen=True, slots=True)
class ServerMetadata:
    """The response to GET /v2."""

    name: str
    version: str
    extensions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """One input or output; `shape` starts with -1 if the model has a batch dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """The response to GET /v2/models/NAME."""

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
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One row of the repository index. Empty strings are omitted on the wire, and so are the problems, which the reason
    states as text, and the namespace."""

    name: str
    version: str = ""
    state: str = ""  # READY, UNAVAILABLE, LOADING, UNLOADING or ""
    reason: str = ""
    problems: tuple[Problem, ...] = ()
    namespace: str = ""


class Dataplane(Protocol):
    """The one service object behind both transports. Version "" means the one that the version policy selects."""

    metrics: MetricRegistry
    regions: Regions
    tracing: Tracing
    log_settings: LogSettings

    def live(self) -> bool:
        """Return whether the server is live."""

    def ready(self) -> bool:
        """Return whether the server and, with strict readiness, every model is ready."""

    def stopping(self) -> bool:
        """Return whether the server is about to stop; it is not ready then."""

    def server_metadata(self) -> ServerMetadata:
        """Return the server's name, version and extensions."""

    async def model_ready(self, name: str, version: str) -> bool:
        """Return whether the version is ready; raise `SlipwayError` with Triton's reason."""

    def model_metadata(self, name: str, version: str) -> ModelMetadata:
        """Return the model's metadata; raise NOT_FOUND or UNAVAILABLE."""

    def model_config(self, name: str, version: str) -> model_config_pb2.ModelConfig:
        """Return the complete, normalised configuration."""

    def model_files(self, name: str, version: str) -> Path:
        """Return the directory of a version's files; raise NOT_FOUND or UNAVAILABLE."""

    def model_statistics(self, name: str, version: str) -> Sequence[VersionStatistics]:
        """Return the counters of one version, of all versions (version ""), or of all models (name "")."""

    def signature(self, name: str, version: str) -> ModelSignature:
        """Return the version's inputs and outputs."""

    def submit(self, request: InferRequest, deliver: Deliver) -> Pending:
        """Accept a request; pass each response, including execution errors, to `deliver` on this thread, possibly
        before this returns. Raise `SlipwayError` if the request is refused at once."""

    async def infer(self, request: InferRequest) -> InferResponse:
        """Return the one response to a request for a model that is not decoupled; raise `SlipwayError` if it fails.
        Cancelling the awaiting task cancels the request."""

    def trace_settings(self, name: str, given: Given | None = None) -> Mapping[str, Sequence[str]]:
        """Change the trace setting of a model, or the global one (name ""), unless nothing is given; return it."""

    def cache_report(self) -> CacheReport | None:
        """Return the state of the response cache; None if there is none."""

    def repository_index(self, ready_only: bool) -> Sequence[IndexEntry]:
        """Return every model in the repositories, with its state."""

    async def load_model(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        """Load or reload a model (explicit mode); `config` is a JSON ModelConfig, `files` maps relative paths to
        contents. Like `unload_model`, it runs to completion even if the awaiting task is cancelled."""

    async def unload_model(self, name: str, unload_dependents: bool) -> None:
        """Start unloading a model (explicit mode)."""

    def record_rejected(self, name: str, version: str) -> None:
        """Count a request that a front could not decode as a failure of the model, if the model exists."""
