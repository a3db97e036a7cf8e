"""A dataplane in memory: the seam's contract with five tiny models, without repository or schedulers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from tritonclient.grpc import model_config_pb2

from slipway.core.check import check_request
from slipway.core.metrics import MetricRegistry
from slipway.core.pending import Deliver, Pending
from slipway.core.request import InferRequest, InferResponse
from slipway.core.signature import ModelSignature, TensorSpec
from slipway.core.statistics import ModelStatistics, Timing
from slipway.core.tensor import Tensor
from slipway.engine.api import IndexEntry, ModelMetadata, ServerMetadata, TensorMetadata, VersionStatistics
from slipway.errors import FailureReason, SlipwayError, invalid, not_found

Run = Callable[["MemoryDataplane", Pending], None]


def echo(_: MemoryDataplane, pending: Pending) -> None:
    """Answer at once: every input INx as output OUTx."""
    request = pending.request
    outputs = [tensor.renamed(name.replace("IN", "OUT")) for name, tensor in request.inputs.items()]
    pending.deliver(InferResponse(request.model_name, "1", request.id, outputs, dict(request.parameters)))


def later(_: MemoryDataplane, pending: Pending) -> None:
    """Answer in a later turn of the loop."""
    asyncio.get_running_loop().call_soon(echo, _, pending)


def never(plane: MemoryDataplane, pending: Pending) -> None:
    """Do not answer; note when the request is cancelled."""
    plane.waiting.append(pending)
    plane.began.set()
    pending.on_cancel(plane.cancelled.set)


def fail(_: MemoryDataplane, pending: Pending) -> None:
    """Answer with an error of the model."""
    pending.deliver(InferResponse(error=SlipwayError(invalid("").code, "the model said no")))


def count(_: MemoryDataplane, pending: Pending) -> None:
    """Answer IN0 times (decoupled), then once more, empty; the value 3 is answered with an error."""
    request = pending.request
    for number in range(int(request.inputs["IN0"].array[0])):
        if number == 3:
            pending.deliver(InferResponse("count", "1", error=invalid("three"), final=False))
            continue
        output = Tensor.from_array("OUT0", np.array([f"answer {number}".encode()], np.object_))
        pending.deliver(InferResponse("count", "1", request.id, [output], final=False))
    pending.deliver(InferResponse("count", "1", empty=True))


def signature(name: str, batch: int, *, decoupled: bool = False, labels: tuple[str, ...] = (), **tensors: str):
    """Return a signature; `tensors` are IN0="FP32 -1 16" and their outputs."""
    inputs, outputs = {}, {}
    for tensor, text in tensors.items():
        datatype, *dims = text.split()
        shape = tuple(map(int, dims))
        inputs[tensor] = TensorSpec(tensor, datatype, shape)
        output = tensor.replace("IN", "OUT")
        outputs[output] = TensorSpec(output, datatype, shape, labels=labels)
    return ModelSignature(name, batch, inputs, outputs, decoupled, frozenset(inputs))


class MemoryDataplane:
    """Implements `engine.api.Dataplane`."""

    def __init__(self) -> None:
        self.metrics = MetricRegistry()
        self.waiting: list[Pending] = []
        self.began = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.is_ready = True
        self.loaded: list[tuple[str, str | None, Mapping[str, bytes]]] = []
        self.unloaded: list[tuple[str, bool]] = []
        self.models: dict[str, tuple[ModelSignature, Run]] = {
            "echo": (signature("echo", 8, IN0="FP32 -1", labels=("cat", "dog", "bird")), echo),
            "pair": (signature("pair", 0, IN0="INT32 -1", IN1="BYTES -1"), echo),
            "text": (signature("text", 0, IN0="BYTES 1"), echo),
            "grid": (signature("grid", 0, IN0="FP64 -1 -1"), echo),
            "half": (signature("half", 0, IN0="FP16 -1"), echo),
            "later": (signature("later", 8, IN0="FP32 -1"), later),
            "never": (signature("never", 8, IN0="FP32 -1"), never),
            "fail": (signature("fail", 8, IN0="FP32 -1"), fail),
            "count": (signature("count", 0, IN0="INT32 1", decoupled=True), count),
            "odd name é": (signature("odd name é", 8, IN0="FP32 -1"), echo),
        }
        self.statistics = {name: ModelStatistics() for name in self.models}

    def live(self) -> bool:
        return True

    def ready(self) -> bool:
        return self.is_ready

    def server_metadata(self) -> ServerMetadata:
        return ServerMetadata("triton", "2.51.0", ("classification", "sequence"))

    async def model_ready(self, name: str, version: str) -> bool:
        self.signature(name, version)
        return name != "never"

    def model_metadata(self, name: str, version: str) -> ModelMetadata:
        spec = self.signature(name, version)
        batch = (-1,) if spec.max_batch_size else ()
        sides = [
            tuple(TensorMetadata(one.name, one.datatype, batch + one.dims) for one in side.values())
            for side in (spec.inputs, spec.outputs)
        ]
        return ModelMetadata(name, ("1",), "identity", *sides)

    def model_config(self, name: str, version: str) -> model_config_pb2.ModelConfig:
        spec = self.signature(name, version)
        return model_config_pb2.ModelConfig(name=name, backend="identity", max_batch_size=spec.max_batch_size)

    def model_statistics(self, name: str, version: str) -> Sequence[VersionStatistics]:
        if name:
            self.signature(name, version)
        names = [name] if name else sorted(self.models)
        return [VersionStatistics(one, "1", self.statistics[one]) for one in names]

    def signature(self, name: str, version: str) -> ModelSignature:
        if name not in self.models:
            raise not_found(f"Request for unknown model: '{name}' is not found")
        if version not in ("", "1"):
            raise not_found(f"Request for unknown model: '{name}' version {version} is not found")
        return self.models[name][0]

    def submit(self, request: InferRequest, deliver: Deliver) -> Pending:
        start = time.monotonic_ns()
        spec, run = self.models[request.model_name]
        rows = check_request(request, spec)
        pending = Pending(request, rows, start, asyncio.get_running_loop(), deliver, not spec.decoupled)
        run(self, pending)
        end = time.monotonic_ns()
        counted = self.statistics[request.model_name]
        timing = Timing(start, start, end, end)
        counted.record_execution(rows, timing, int(time.time() * 1000))
        counted.record_success(start, timing, end)
        return pending

    async def infer(self, request: InferRequest) -> InferResponse:
        answer: asyncio.Future[InferResponse] = asyncio.get_running_loop().create_future()
        self.submit(request, answer.set_result)
        return await answer

    def repository_index(self, ready_only: bool) -> Sequence[IndexEntry]:
        unavailable = [] if ready_only else [IndexEntry("broken", "1", "UNAVAILABLE", "it does not load")]
        return [IndexEntry("echo", "1", "READY"), *unavailable, *([] if ready_only else [IndexEntry("bare")])]

    async def load_model(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        if name == "missing":
            raise invalid("failed to load 'missing', failed to poll from model repository")
        self.loaded.append((name, config, files))

    async def unload_model(self, name: str, unload_dependents: bool) -> None:
        self.unloaded.append((name, unload_dependents))

    def record_rejected(self, name: str, version: str) -> None:
        self.signature(name, version)
        self.statistics[name].record_failure(0, FailureReason.OTHER)
