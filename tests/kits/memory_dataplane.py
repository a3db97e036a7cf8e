"""A dataplane in memory: the interface that both fronts call, with a table of tiny models, without repository or
schedulers.

A model is a signature and a function that handles requests; every model has version 1. Each front's tests have their
own table (tests/rest/models.py, tests/rpc/models.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from tritonclient.grpc import model_config_pb2

from slipway.config.trace_settings import TraceOptions
from slipway.core.check import check_request
from slipway.core.log_settings import LogSettings
from slipway.core.metrics import MetricRegistry
from slipway.core.pending import Deliver, Pending
from slipway.core.request import InferRequest, InferResponse
from slipway.core.signature import ModelSignature, TensorSpec
from slipway.core.statistics import ModelStatistics, Timing
from slipway.datatypes import BY_NAME
from slipway.engine.api import IndexEntry, ModelMetadata, ServerMetadata, TensorMetadata, VersionStatistics
from slipway.errors import FailureReason, SlipwayError, cancelled, invalid, not_found
from slipway.regions.registry import Regions
from slipway.response_cache.api import CacheReport
from slipway.tracing.tracing import Tracing

Run = Callable[["MemoryDataplane", Pending], None]


class Model(NamedTuple):
    """A model's signature, the function that handles its requests, and the parameters of its config."""

    signature: ModelSignature
    run: Run
    parameters: Mapping[str, str] = MappingProxyType({})


def signature(
    name: str,
    inputs: str,
    outputs: str,
    *,
    batch: int = 0,
    decoupled: bool = False,
    labels: tuple[str, ...] = (),
) -> ModelSignature:
    """Return a signature; tensors are written as in "IN0 FP32 -1 16, IN1? BYTES 1", where "?" means optional."""
    taken = {spec.name: spec for spec in map(_spec, inputs.split(","))}
    given = {spec.name: spec for spec in (_spec(text, labels) for text in outputs.split(","))}
    required = frozenset(spec.name for spec in taken.values() if not spec.optional)
    return ModelSignature(name, batch, taken, given, decoupled, required)


def _spec(text: str, labels: tuple[str, ...] = ()) -> TensorSpec:
    name, datatype, *dims = text.split()
    optional = name.endswith("?")
    return TensorSpec(name.rstrip("?"), datatype, tuple(map(int, dims)), optional=optional, labels=labels)


# How models handle requests


def answer(pending: Pending, *outputs, **fields) -> None:
    """Deliver a response to a request, with the request's id."""
    request = pending.request
    pending.deliver(InferResponse(request.model_name, "1", request.id, list(outputs), **fields))


def echo(_: MemoryDataplane, pending: Pending) -> None:
    """Answer at once, with every input INx as output OUTx."""
    request = pending.request
    outputs = [tensor.renamed(name.replace("IN", "OUT")) for name, tensor in request.inputs.items()]
    answer(pending, *outputs, parameters=dict(request.parameters))


def later(plane: MemoryDataplane, pending: Pending) -> None:
    """Answer in a later pass of the loop."""
    asyncio.get_running_loop().call_soon(echo, plane, pending)


def fail(_: MemoryDataplane, pending: Pending) -> None:
    """Answer with a model's error."""
    answer(pending, error=SlipwayError(invalid("").code, "the model said no"))


def never(plane: MemoryDataplane, pending: Pending) -> None:
    """Do not answer; note when the request is cancelled."""
    plane.held.append(pending)
    plane.began.set()
    pending.on_cancel(lambda: plane.cancelled.append(pending.request.id))


def until_cancelled(plane: MemoryDataplane, pending: Pending) -> None:
    """Answer only once the request is cancelled, with an error."""
    never(plane, pending)
    pending.on_cancel(lambda: pending.deliver(InferResponse(error=cancelled())))


class MemoryDataplane:
    """Implements `engine.api.Dataplane`, and records the calls."""

    def __init__(
        self,
        models: Sequence[Model],
        *,
        metadata: ServerMetadata,
        platform: str = "identity",
        index: Sequence[IndexEntry] = (),
        unready: Sequence[str] = (),
        files: Mapping[str, Path] | None = None,
    ) -> None:
        self.metrics = MetricRegistry()
        self.regions = Regions()
        self.tracing = Tracing(TraceOptions(), self.metrics)
        self.log_settings = LogSettings()
        self.models = {model.signature.model_name: model for model in models}
        self.statistics = {name: ModelStatistics() for name in self.models}
        self.is_ready = True
        self.is_stopping = False
        self.began = asyncio.Event()  # a request is held
        self.held: list[Pending] = []  # requests that are not answered
        self.cancelled: list[str] = []  # their ids
        self.requests: list[InferRequest] = []
        self.rejected: list[str] = []  # models whose requests a front could not decode
        self.loaded: list[tuple[str, str | None, Mapping[str, bytes]]] = []
        self.unloaded: list[tuple[str, bool]] = []
        self.produced = 0  # responses of a model that counts them
        self.cache: CacheReport | None = None
        self._metadata = metadata
        self._platform = platform
        self._index = index
        self._unready = unready
        self._files = files or {}

    def live(self) -> bool:
        return True

    def ready(self) -> bool:
        return self.is_ready

    def stopping(self) -> bool:
        return self.is_stopping

    def server_metadata(self) -> ServerMetadata:
        return self._metadata

    async def model_ready(self, name: str, version: str) -> bool:
        self.signature(name, version)
        return name not in self._unready

    def model_metadata(self, name: str, version: str) -> ModelMetadata:
        found = self.signature(name, version)
        batch = (-1,) if found.max_batch_size else ()
        sides = [
            tuple(TensorMetadata(spec.name, spec.datatype, batch + spec.dims) for spec in side.values())
            for side in (found.inputs, found.outputs)
        ]
        return ModelMetadata(name, ("1",), self._platform, *sides)

    def model_config(self, name: str, version: str) -> model_config_pb2.ModelConfig:
        found = self.signature(name, version)
        config = model_config_pb2.ModelConfig(name=name, backend=self._platform, max_batch_size=found.max_batch_size)
        for side, specs in ((config.input, found.inputs), (config.output, found.outputs)):
            for spec in specs.values():
                datatype = model_config_pb2.DataType.Value(BY_NAME[spec.datatype].config_name)
                side.add(name=spec.name, data_type=datatype, dims=spec.dims)
        config.model_transaction_policy.decoupled = found.decoupled
        for key, value in self.models[name].parameters.items():
            config.parameters[key].string_value = value
        return config

    def model_files(self, name: str, version: str) -> Path:
        self.signature(name, version)
        return self._files[name]

    def model_statistics(self, name: str, version: str) -> Sequence[VersionStatistics]:  # noqa: ARG002  the interface's
        if name and name not in self.models:
            raise invalid(f"requested model '{name}' is not available")
        names = [name] if name else sorted(self.models)
        return [VersionStatistics(each, "1", self.statistics[each]) for each in names]

    def trace_settings(
        self, name: str, given: Mapping[str, Sequence[str]] | None = None
    ) -> Mapping[str, Sequence[str]]:
        if name:
            self.signature(name, "")
        if given is not None:
            self.tracing.update(name, given)
        return self.tracing.settings(name)

    def cache_report(self) -> CacheReport | None:
        return self.cache

    def signature(self, name: str, version: str) -> ModelSignature:
        if name not in self.models:
            raise not_found(f"Request for unknown model: '{name}' is not found")
        if version not in ("", "1"):
            raise not_found(f"Request for unknown model: '{name}' version {version} is not found")
        return self.models[name].signature

    def submit(self, request: InferRequest, deliver: Deliver) -> Pending:
        found = self.signature(request.model_name, request.model_version)
        start = time.monotonic_ns()
        rows = check_request(request, found)
        pending = Pending(request, rows, start, asyncio.get_running_loop(), deliver, not found.decoupled)
        self.requests.append(request)
        self.models[request.model_name].run(self, pending)
        end = time.monotonic_ns()
        counted = self.statistics[request.model_name]
        timing = Timing(start, start, end, end)
        counted.record_execution(rows, timing, int(time.time() * 1000))
        counted.record_success(start, timing, end)
        return pending

    async def infer(self, request: InferRequest) -> InferResponse:
        raise AssertionError(f"fronts answer '{request.model_name}' through submit, never through infer")

    def repository_index(self, ready_only: bool) -> Sequence[IndexEntry]:
        return [entry for entry in self._index if entry.state == "READY" or not ready_only]

    async def load_model(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        if name == "missing":
            raise invalid("failed to load 'missing', failed to poll from model repository")
        self.loaded.append((name, config, dict(files)))

    async def unload_model(self, name: str, unload_dependents: bool) -> None:
        self.unloaded.append((name, unload_dependents))

    def record_rejected(self, name: str, version: str) -> None:
        self.signature(name, version)
        self.rejected.append(name)
        self.statistics[name].record_failure(0, FailureReason.OTHER)
