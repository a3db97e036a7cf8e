"""A small dataplane in memory: identity, strings, classification, decoupled, failing, and one that never answers."""

from __future__ import annotations

import asyncio
import time

import numpy as np
from tritonclient.grpc import model_config_pb2

from slipway.core.check import check_request
from slipway.core.metrics import MetricRegistry
from slipway.core.pending import Pending
from slipway.core.request import InferResponse
from slipway.core.signature import ModelSignature, TensorSpec
from slipway.core.statistics import ModelStatistics
from slipway.core.tensor import Tensor
from slipway.engine.api import IndexEntry, ModelMetadata, ServerMetadata, TensorMetadata, VersionStatistics
from slipway.errors import cancelled, invalid, not_found


def model(name, inputs, outputs, *, max_batch_size=0, decoupled=False):
    return ModelSignature(
        model_name=name,
        max_batch_size=max_batch_size,
        inputs={spec.name: spec for spec in inputs},
        outputs={spec.name: spec for spec in outputs},
        decoupled=decoupled,
        required_inputs=frozenset(spec.name for spec in inputs if not spec.optional),
    )


LABELS = ("zero", "one", "two")
SIGNATURES = {
    signature.model_name: signature
    for signature in (
        model(
            "identity",
            [TensorSpec("INPUT0", "FP32", (-1,))],
            [TensorSpec("OUTPUT0", "FP32", (-1,), labels=LABELS)],
            max_batch_size=8,
        ),
        model("late", [TensorSpec("INPUT0", "FP32", (-1,))], [TensorSpec("OUTPUT0", "FP32", (-1,))]),
        model("text", [TensorSpec("TEXT", "BYTES", (-1,))], [TensorSpec("OUTPUT0", "BYTES", (-1,))]),
        model(
            "half",
            [TensorSpec("H", "FP16", (-1,)), TensorSpec("U", "UINT8", (-1,), optional=True)],
            [TensorSpec("OUTPUT0", "FP16", (-1,))],
        ),
        model("count", [TensorSpec("N", "INT32", (1,))], [TensorSpec("I", "INT32", (1,))], decoupled=True),
        model("flood", [TensorSpec("N", "INT32", (1,))], [TensorSpec("I", "UINT8", (-1,))], decoupled=True),
        model("early", [TensorSpec("INPUT0", "FP32", (-1,))], [TensorSpec("OUTPUT0", "FP32", (-1,))]),
        model("nothing", [TensorSpec("INPUT0", "FP32", (-1,))], [TensorSpec("OUTPUT0", "FP32", (-1,))]),
        model("failing", [TensorSpec("INPUT0", "FP32", (-1,))], [TensorSpec("OUTPUT0", "FP32", (-1,))]),
        model("broken", [TensorSpec("INPUT0", "FP32", (-1,))], [TensorSpec("OUTPUT0", "FP32", (-1,))]),
        model("silent", [TensorSpec("INPUT0", "FP32", (-1,))], [TensorSpec("OUTPUT0", "FP32", (-1,))]),
    )
}


class Plane:
    """Implements engine.api.Dataplane."""

    def __init__(self):
        self.metrics = MetricRegistry()
        self.is_ready = True
        self.held = []  # pending requests of the model "silent"
        self.cancelled = []  # request ids
        self.rejected = []
        self.loads = []
        self.requests = []
        self.produced = 0  # answers of the model "flood"

    def live(self):
        return True

    def ready(self):
        return self.is_ready

    def server_metadata(self):
        return ServerMetadata("slipway", "1.0", ("classification", "statistics"))

    def signature(self, name, version):
        if name not in SIGNATURES:
            raise not_found(f"Request for unknown model: '{name}' is not found")
        if version not in ("", "1"):
            raise not_found(f"Request for unknown model: '{name}' version {version} is not found")
        return SIGNATURES[name]

    async def model_ready(self, name, version):
        self.signature(name, version)
        return True

    def model_metadata(self, name, version):
        signature = self.signature(name, version)
        lead = (-1,) if signature.max_batch_size else ()

        def tensors(specs):
            return tuple(TensorMetadata(spec.name, spec.datatype, lead + spec.dims) for spec in specs.values())

        return ModelMetadata(name, ("1",), "python", tensors(signature.inputs), tensors(signature.outputs))

    def model_config(self, name, version):
        signature = self.signature(name, version)
        config = model_config_pb2.ModelConfig(name=name, max_batch_size=signature.max_batch_size)
        for side, specs in ((config.input, signature.inputs), (config.output, signature.outputs)):
            for spec in specs.values():
                side.add(
                    name=spec.name,
                    data_type=model_config_pb2.DataType.Value(f"TYPE_{spec.datatype}".replace("BYTES", "STRING")),
                    dims=spec.dims,
                )
        config.model_transaction_policy.decoupled = signature.decoupled
        return config

    def model_statistics(self, name, version):  # noqa: ARG002  the seam's arguments
        if name and name not in SIGNATURES:
            raise invalid(f"requested model '{name}' is not available")
        statistics = ModelStatistics()
        statistics.inference_count, statistics.execution_count = 5, 3
        statistics.success.add(700)
        return [VersionStatistics(row, "1", statistics) for row in ([name] if name else SIGNATURES)]

    def repository_index(self, ready_only):
        rows = [IndexEntry("identity", "1", "READY"), IndexEntry("broken", "1", "UNAVAILABLE", "no such file")]
        return [row for row in rows if row.state == "READY" or not ready_only]

    async def load_model(self, name, config, files):
        self.loads.append((name, config, dict(files)))

    async def unload_model(self, name, unload_dependents):
        self.loads.append((name, unload_dependents))

    def record_rejected(self, name, version):  # noqa: ARG002  the seam's arguments
        self.rejected.append(name)

    async def infer(self, request):  # noqa: ARG002  the seam's argument
        raise AssertionError("the gRPC front answers through submit, never through infer")

    def submit(self, request, deliver):
        signature = self.signature(request.model_name, request.model_version)
        rows = check_request(request, signature)
        pending = Pending(
            request, rows, time.monotonic_ns(), asyncio.get_running_loop(), deliver, not signature.decoupled
        )
        self.requests.append(request)
        getattr(self, f"run_{request.model_name}", self.run_identity)(pending)
        return pending

    def run_identity(self, pending):
        request = pending.request
        tensor = next(iter(request.inputs.values())).renamed("OUTPUT0")
        pending.deliver(InferResponse(request.model_name, "1", request.id, [tensor], dict(request.parameters)))

    def run_late(self, pending):
        delay = float(pending.request.inputs["INPUT0"].array[0])
        pending.loop.call_later(delay, self.run_identity, pending)

    def run_early(self, pending):
        request = pending.request
        outputs = [request.inputs["INPUT0"].renamed("OUTPUT0")]
        pending.deliver(InferResponse("early", "1", request.id, outputs, final=False))
        pending.deliver(InferResponse("early", "1", request.id, empty=True))

    def run_nothing(self, pending):
        pending.deliver(InferResponse("nothing", "1", pending.request.id, empty=True))

    def run_count(self, pending):
        self._count(pending, 0, int(pending.request.inputs["N"].array[0]))

    def _count(self, pending, index, end):
        request = pending.request
        if index < end:
            outputs = [Tensor.from_array("I", np.array([index], np.int32))]
            pending.deliver(InferResponse("count", "1", request.id, outputs, final=False))
            pending.loop.call_soon(self._count, pending, index + 1, end)
        elif end < 0:
            pending.deliver(InferResponse("count", "1", request.id, error=invalid("bad n")))
        else:
            pending.deliver(InferResponse("count", "1", request.id, empty=True))

    def run_flood(self, pending):
        if pending.cancelled:
            pending.deliver(InferResponse("flood", "1", error=cancelled()))
            return
        self.produced += 1
        outputs = [Tensor.from_array("I", np.zeros(2**20, np.uint8))]
        pending.deliver(InferResponse("flood", "1", pending.request.id, outputs, final=False))
        pending.loop.call_soon(self.run_flood, pending)

    def run_failing(self, pending):
        pending.deliver(InferResponse("failing", "1", pending.request.id, error=invalid("boom")))

    def run_broken(self, pending):
        outputs = [Tensor("OUTPUT0", "FP32", (2,), array=np.array([1 + 2j]))]
        outputs[0]._raw = "not bytes"
        pending.deliver(InferResponse("broken", "1", pending.request.id, outputs))

    def run_silent(self, pending):
        self.held.append(pending)

        def dropped():
            self.cancelled.append(pending.request.id)
            pending.deliver(InferResponse(error=cancelled()))

        pending.on_cancel(dropped)
