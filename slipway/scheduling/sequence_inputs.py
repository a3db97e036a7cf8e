"""What a sequence model gets beyond what its clients send, and what it returns beyond what they get: control inputs and
implicit states.

A state belongs to one run of a sequence (`SequenceRun.carried`), by the name of its input. It changes with every
response that has the state's output, and a START resets it. Knows neither slots nor instances.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any, Final

from slipway.config.sequences import ImplicitState, SequencePlan, id_tensor
from slipway.core.check import matches_dims
from slipway.core.pending import Pending
from slipway.core.request import SEQUENCE_END, SEQUENCE_START, InferRequest, InferResponse, RequestForm
from slipway.core.signature import ModelSignature
from slipway.core.tensor import Tensor
from slipway.datatypes import BY_NAME
from slipway.errors import FailureReason, SlipwayError, internal
from slipway.scheduling.sequences import SequenceRun

_FLAGS: Final = SEQUENCE_START | SEQUENCE_END
_LENGTH_BYTES: Final = 4  # an empty string is its length
_SMALL: Final = 64 << 10  # bytes: a state below this is copied, so that it does not keep a whole batch alive


class SequenceInputs:
    """The added inputs and outputs of one model version; `signature` is the one that its clients see."""

    def __init__(self, plan: SequencePlan, signature: ModelSignature) -> None:
        self._plan = plan
        self._model_name = signature.model_name
        self._batched = signature.max_batch_size > 0
        self._declared: Container[str] = signature.outputs
        self._by_output = {state.output_name: state for state in plan.states}
        self.has_states = bool(plan.states)
        # Whether requests of one form, with equal flags, are of one form when they are composed.
        self._keeps_form = not plan.states and (plan.id_control is None or plan.id_control.datatype != "BYTES")

    def composed(self, request: InferRequest, run: SequenceRun[Pending]) -> InferRequest:
        """Return the request as the model gets it: with the controls of its flags and the states of its run."""
        plan = self._plan
        flags = request.flags & _FLAGS
        inputs = {**request.inputs, **plan.controls[flags]}
        outputs = request.outputs
        if plan.states and flags & SEQUENCE_START:
            run.carried.clear()
        if plan.id_control is not None:
            name = plan.id_control.name
            tensor = run.carried.get(name)
            if tensor is None:
                tensor = run.carried[name] = id_tensor(plan, plan.id_control, request.correlation_id)
            inputs[name] = tensor
        if plan.states:
            for state in plan.states:
                inputs[state.spec.name] = run.carried.get(state.spec.name, state.initial)
            if outputs:
                outputs = (*outputs, *(name for name in self._by_output if name not in outputs))
        composed = request.with_tensors(inputs, outputs)
        form = request.form
        if form is not None and self._keeps_form:
            extended_by, extended = form.extended
            if extended_by is not self:
                extended = {}
                form.extended = self, extended
            composed.form = extended.get(flags)
            if composed.form is None:
                composed.form = extended[flags] = RequestForm()
        return composed

    def placeholder(self, request: InferRequest) -> InferRequest:
        """Return a request for a slot without one, with inputs of the same shapes as `request`, which is composed."""
        inputs = {tensor.name: _zeros(tensor) for tensor in request.inputs.values()}
        inputs |= self._plan.not_ready
        return InferRequest(request.model_name, request.model_version, inputs=inputs, outputs=request.outputs)

    def absorb(self, run: SequenceRun[Pending], wanted: Container[str], response: InferResponse) -> None:
        """Keep the states of a response, and remove those that the client did not request (`wanted`; empty: all)."""
        if response.error is not None or response.empty:
            return
        states: dict[str, Tensor] = {}
        kept = []
        for tensor in response.outputs:
            state = self._by_output.get(tensor.name)
            if state is None:
                kept.append(tensor)
                continue
            error = self._mismatch(tensor, state)
            if error is not None:
                response.outputs, response.error = [], error
                return
            states[state.spec.name] = _owned(tensor.renamed(state.spec.name))
            if tensor.name in self._declared and (not wanted or tensor.name in wanted):
                kept.append(tensor)
        run.carried.update(states)
        response.outputs = kept

    def _mismatch(self, tensor: Tensor, state: ImplicitState) -> SlipwayError | None:
        """Return the error for a state that the next request could not have as its input."""
        dims = (1, *state.spec.dims) if self._batched else state.spec.dims
        if tensor.datatype == state.spec.datatype and matches_dims(tensor.shape, dims):
            return None
        return internal(
            f"output state '{tensor.name}' of model '{self._model_name}' has datatype {tensor.datatype} and shape "
            f"{list(tensor.shape)}, the config expects {state.spec.datatype} and {list(dims)}",
            reason=FailureReason.BACKEND,
        )


def _zeros(tensor: Tensor) -> Tensor:
    size = _LENGTH_BYTES if tensor.datatype == "BYTES" else BY_NAME[tensor.datatype].size
    return Tensor(tensor.name, tensor.datatype, tensor.shape, raw=bytes(size * tensor.element_count))


def _owned(tensor: Tensor) -> Tensor:
    """Return a tensor that does not keep much more memory alive than its own."""
    if not tensor.is_decoded:
        raw = tensor.raw
        if isinstance(raw, memoryview) and raw.nbytes < _SMALL:
            return Tensor(tensor.name, tensor.datatype, tensor.shape, raw=bytes(raw))
        return tensor
    array = tensor.array
    base: Any = array.base
    if base is None or (array.nbytes >= _SMALL and getattr(base, "nbytes", 0) <= 2 * array.nbytes):
        return tensor
    return Tensor(tensor.name, tensor.datatype, tensor.shape, array=array.copy())
