"""The backend `identity`: each OUTPUTn is INPUTn, to test everything around a model.

A request's tensors pass through renamed and undecoded, so this backend also measures the server's own cost.
Texts and parameters are those of Triton's identity backend (`identity_backend`, `src/identity.cc`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import monotonic_ns
from typing import Final

import numpy as np
from tritonclient.grpc import model_config_pb2

from slipway.backends.api import CompletionContext, Execution, InstanceSpec, ModelContext, Placement
from slipway.backends.shared.parameters import Parameters
from slipway.core.batch import apply_reshape
from slipway.core.pending import Pending
from slipway.core.request import InferRequest, InferResponse
from slipway.core.signature import ModelSignature, TensorSpec
from slipway.core.tensor import Tensor
from slipway.datatypes import BY_NAME
from slipway.errors import invalid
from slipway.problems import Problem

_LOG: Final = logging.getLogger("slipway.identity")
_NUMBERS: Final = ("creation_delay_sec", "execute_delay_ms", "instance_wise_delay_multiplier")
_FAMILY = ("input_byte_size_counter", "Cumulative input_byte_size across all identity model requests", "counter")


class IdentityBackend:
    """Loads models that return their inputs."""

    def complete(self, config: model_config_pb2.ModelConfig, context: CompletionContext) -> None:
        """Leave `config` as it is: there is no model file to read."""

    def check(self, context: ModelContext) -> list[Problem]:
        """Check everything that a load checks; every setting has an effect."""
        _pair_up(_declared(context))
        parameters = Parameters(context.config)
        for key in _NUMBERS:
            parameters.integer(key)  # raises if the value is not a number
        return []

    def load(self, context: ModelContext) -> LoadedIdentity:
        """Check the names, types and shapes of the pairs; sleep `creation_delay_sec` seconds."""
        pairs = _pair_up(_declared(context))
        parameters = Parameters(context.config)
        delay = parameters.integer("creation_delay_sec")
        if delay > 0:
            _LOG.info("Creation delay is set to: %d", delay)
            time.sleep(delay)
        return LoadedIdentity(context, pairs, parameters)


@dataclass(frozen=True, slots=True)
class _Pair:
    """An output and the input it copies; `reshaped` when either has another shape inside the model."""

    output: TensorSpec
    input: TensorSpec
    reshaped: bool


def _declared(context: ModelContext) -> ModelSignature:
    """Return the signature without the control inputs and states of sequences, which have no effect here."""
    inputs = {each.name: context.signature.inputs[each.name] for each in context.config.input}
    outputs = {each.name: context.signature.outputs[each.name] for each in context.config.output}
    return replace(context.signature, inputs=inputs, outputs=outputs)


def _pair_up(signature: ModelSignature) -> dict[str, _Pair]:
    if len(signature.inputs) != len(signature.outputs):
        raise invalid("model configuration must have equal input/output pairs")
    for kind, names in (("input", signature.inputs), ("output", signature.outputs)):
        for name in names:
            if not name.startswith(kind.upper()):
                raise invalid(f"expected {kind} name to follow {kind.upper()}<index> pattern, got '{name}'")
    pairs = {}
    for name, output in signature.outputs.items():
        source = signature.inputs.get("INPUT" + name.removeprefix("OUTPUT"))
        if source is None:
            raise invalid("expected input and output indices to match")
        _check_pair(source, output)
        pairs[name] = _Pair(output, source, source.reshape is not None or output.reshape is not None)
    return pairs


def _check_pair(source: TensorSpec, output: TensorSpec) -> None:
    if source.datatype != output.datatype:
        ours, theirs = BY_NAME[source.datatype].config_name, BY_NAME[output.datatype].config_name
        raise invalid(f"expected input and output datatype to match, got {ours} and {theirs}")
    given, wanted = _inner(source), _inner(output)
    if given != wanted:
        raise invalid(f"expected input and output shape to match, got {_dims(given)} and {_dims(wanted)}")


def _inner(spec: TensorSpec) -> tuple[int, ...]:
    return spec.dims if spec.reshape is None else spec.reshape


def _dims(dims: Sequence[int]) -> str:
    return "[" + ",".join(map(str, dims)) + "]"


class LoadedIdentity:
    """One loaded identity model. It runs on the event loop unless its parameters set a delay."""

    def __init__(self, context: ModelContext, pairs: dict[str, _Pair], parameters: Parameters) -> None:
        self.signature = context.signature
        self.version = str(context.version)
        self.pairs = pairs
        self._delay_ms = parameters.integer("execute_delay_ms")
        self._multiplier = parameters.integer("instance_wise_delay_multiplier")
        self.placement = Placement.THREAD if self._delay_ms > 0 else Placement.INLINE
        self._labels = {"model": context.name, "version": self.version}
        self._family = context.host.metrics.family(*_FAMILY)
        self.input_bytes = self._family.metric(self._labels)

    def open(self, instance: InstanceSpec) -> IdentityExecutor:
        """Return an executor that waits `execute_delay_ms`, times `instance_wise_delay_multiplier` if it is set."""
        factor = max(self._multiplier * instance.index, 1) if self._multiplier > 0 else 1
        return IdentityExecutor(self, self._delay_ms * factor / 1000)

    def unload(self) -> None:
        """Remove the custom metric."""
        self._family.release(self._labels)


class IdentityExecutor:
    """One instance: answers request by request and stacks nothing."""

    __slots__ = ("_batched", "_delay", "_input_bytes", "_name", "_pairs", "_plain", "_version")

    def __init__(self, model: LoadedIdentity, delay: float) -> None:
        self._delay = delay  # seconds
        self._name = model.signature.model_name
        self._version = model.version
        self._batched = model.signature.max_batch_size > 0
        self._pairs = model.pairs
        self._plain = [(pair.input.name, name) for name, pair in model.pairs.items()]
        if any(pair.reshaped or pair.input.optional for pair in model.pairs.values()):
            self._plain = []
        self._input_bytes = model.input_bytes

    def execute(self, batch: Sequence[Pending]) -> Execution:
        """Answer each request with its own tensors under the output names."""
        start = monotonic_ns()
        if self._delay:
            time.sleep(self._delay)
        size = 0
        responses = []
        for pending in batch:
            request = pending.request
            outputs = self._outputs(request)
            responses.append(InferResponse(self._name, self._version, request.id, outputs))
            for tensor in outputs:
                size += _byte_size(tensor)
        self._input_bytes.increment(size)
        return Execution(responses, start, monotonic_ns())

    def check_ready(self) -> None:
        """Do nothing: nothing can break."""

    def close(self) -> None:
        """Do nothing: the instance holds nothing."""

    def _outputs(self, request: InferRequest) -> list[Tensor]:
        inputs = request.inputs
        if self._plain and not request.outputs:
            return [inputs[source].renamed(name) for source, name in self._plain]
        return [self._output(request, name) for name in request.outputs or self._pairs if name in self._pairs]

    def _output(self, request: InferRequest, name: str) -> Tensor:
        pair = self._pairs[name]
        tensor = request.inputs.get(pair.input.name)
        if tensor is None:
            return self._zeros(request, pair)
        if not pair.reshaped:
            return tensor.renamed(name)
        inner, outer = _inner(pair.input), pair.output.dims
        shape = apply_reshape(tensor.shape, pair.input.dims, inner, self._batched)
        return tensor.reshaped(apply_reshape(shape, inner, outer, self._batched)).renamed(name)

    def _zeros(self, request: InferRequest, pair: _Pair) -> Tensor:
        """Return Triton's output for an omitted optional input: zeros or empty strings, variable dimensions as 1."""
        rows = next((tensor.shape[:1] for tensor in request.inputs.values()), (1,)) if self._batched else ()
        shape = rows + tuple(1 if size == -1 else size for size in pair.output.dims)
        if pair.output.datatype == "BYTES":
            return Tensor.from_array(pair.output.name, np.full(shape, b"", dtype=np.object_))
        return Tensor.from_array(pair.output.name, np.zeros(shape, dtype=BY_NAME[pair.output.datatype].numpy))


def _byte_size(tensor: Tensor) -> int:
    if tensor.is_decoded and tensor.datatype != "BYTES":  # a decoded tensor need not be encoded to be counted
        return tensor.array.nbytes
    return len(tensor.raw)
