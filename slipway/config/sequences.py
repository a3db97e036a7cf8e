"""What `sequence_batching` of a configuration specifies: the strategy, the control tensors and the implicit states.

Read once, when a model is loaded. Reads files only from the model's `initial_state` directory. Source: Triton
`sequence_batch_scheduler.cc` and `sequence_state.cc` (defaults, texts).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from tritonclient.grpc import model_config_pb2

from slipway.core.bytes_codec import TruncatedElementError, count_elements
from slipway.core.request import SEQUENCE_END, SEQUENCE_START
from slipway.core.signature import ModelSignature, TensorSpec
from slipway.core.tensor import Tensor
from slipway.datatypes import BY_CONFIG_NAME, BY_NAME
from slipway.errors import SlipwayError, refused
from slipway.problems import Problem, Rule

DIRECTORY: Final = "initial_state"
MAX_TEXT_BYTES: Final = 16 << 20  # in a file of strings
_NS_PER_US: Final = 1000
_Control: Final = model_config_pb2.ModelSequenceBatching.Control
_Input: Final = model_config_pb2.ModelInput
_Output: Final = model_config_pb2.ModelOutput
# Field of a control -> the datatype of its tensor, and how one value is packed.
_VALUES: Final = {
    "int32_false_true": ("INT32", "<i"),
    "fp32_false_true": ("FP32", "<f"),
    "bool_false_true": ("BOOL", "<?"),
}
_ALL_FLAGS: Final = range((SEQUENCE_START | SEQUENCE_END) + 1)

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class ImplicitState:
    """One implicit state: the output `output_name` of a request is the input `spec` of the sequence's next one.

    `initial` is what the first request of a sequence gets; its shape has the batch dimension if the model has one.
    """

    spec: TensorSpec
    output_name: str
    initial: Tensor


@dataclass(frozen=True, slots=True)
class SequencePlan:
    """How a model version serves sequences. Times are nanoseconds.

    `slots` is how many sequences an instance serves at once. `controls` are the control inputs by the flags of a
    request, `not_ready` those of a place without a request; `id_control` is the input for the correlation id, if any.
    """

    oldest: bool
    slots: int
    max_idle: int
    iterative: bool = False
    preferred_rows: frozenset[int] = frozenset()
    max_delay: int = 0
    minimum_utilization: float = 0.0
    preserve_ordering: bool = False
    controls: tuple[Tensors, ...] = tuple(MappingProxyType({}) for _ in _ALL_FLAGS)
    not_ready: Tensors = field(default_factory=dict)
    id_control: TensorSpec | None = None
    states: tuple[ImplicitState, ...] = ()
    control_shape: tuple[int, ...] = (1,)

    def added_inputs(self) -> dict[str, TensorSpec]:
        """Return the inputs that the model has and its clients do not send."""
        added = {name: TensorSpec(name, tensor.datatype, (1,)) for name, tensor in self.not_ready.items()}
        if self.id_control is not None:
            added[self.id_control.name] = self.id_control
        return added | {state.spec.name: state.spec for state in self.states}


def sequence_plan(config: model_config_pb2.ModelConfig, model_directory: Path) -> SequencePlan | None:
    """Return how a model serves sequences, None if it does not; raise INVALID_ARG for initial data that cannot be
    read. `config` is normalised and has no problems."""
    if not config.HasField("sequence_batching"):
        return None
    batching = config.sequence_batching
    max_rows = max(1, config.max_batch_size)
    batched = config.max_batch_size > 0
    plan = SequencePlan(
        oldest=batching.HasField("oldest"),
        slots=max_rows,
        max_idle=batching.max_sequence_idle_microseconds * _NS_PER_US,
        iterative=batching.iterative_sequence,
        controls=tuple(_controls(batching, flags, batched=batched) for flags in _ALL_FLAGS),
        not_ready=_controls(batching, None, batched=batched),
        id_control=_id_control(batching),
        states=tuple(_state(state, model_directory, batched=batched) for state in batching.state),
        control_shape=_one(batched=batched),
    )
    if not plan.oldest:
        return replace(
            plan,
            max_delay=batching.direct.max_queue_delay_microseconds * _NS_PER_US,
            minimum_utilization=batching.direct.minimum_slot_utilization,
        )
    oldest = batching.oldest
    return replace(
        plan,
        slots=oldest.max_candidate_sequences if oldest.max_candidate_sequences > 0 else max_rows,
        preferred_rows=frozenset(oldest.preferred_batch_size),
        max_delay=oldest.max_queue_delay_microseconds * _NS_PER_US,
        preserve_ordering=oldest.preserve_ordering,
    )


def execution_signature(signature: ModelSignature, plan: SequencePlan | None) -> ModelSignature:
    """Return the signature that the model's code has: with control inputs and states."""
    if plan is None:
        return signature
    added = plan.added_inputs()
    states = {state.output_name: replace(state.spec, name=state.output_name) for state in plan.states}
    return replace(
        signature,
        inputs={**signature.inputs, **added},
        outputs={**signature.outputs, **{name: spec for name, spec in states.items() if name not in signature.outputs}},
        required_inputs=signature.required_inputs | added.keys(),
    )


def declared_inputs(config: model_config_pb2.ModelConfig) -> list[model_config_pb2.ModelInput]:
    """Return the inputs that the model's code has, as declarations: the declared ones, control inputs and states.
    `config` may have problems."""
    controls = [
        (tensor.name, control) for tensor in config.sequence_batching.control_input for control in tensor.control
    ]
    return [
        *config.input,
        *(_Input(name=name, data_type=_control_type(control), dims=[1]) for name, control in controls),
        *(
            _Input(name=state.input_name, data_type=state.data_type, dims=state.dims)
            for state in config.sequence_batching.state
        ),
    ]


def declared_outputs(config: model_config_pb2.ModelConfig) -> list[model_config_pb2.ModelOutput]:
    """Return the outputs that the model's code has, as declarations: the declared ones and states."""
    names = {declared.name for declared in config.output}
    states = [state for state in config.sequence_batching.state if state.output_name not in names]
    return [
        *config.output,
        *(_Output(name=state.output_name, data_type=state.data_type, dims=state.dims) for state in states),
    ]


def _control_type(control: Any) -> Any:
    if control.kind == _Control.CONTROL_SEQUENCE_CORRID:
        return control.data_type
    types = [BY_NAME[datatype].config_name for key, (datatype, _) in _VALUES.items() if getattr(control, key)]
    return model_config_pb2.DataType.Value(types[0]) if types else model_config_pb2.TYPE_INVALID


def first_inputs(plan: SequencePlan | None) -> dict[str, Tensor]:
    """Return the added inputs of a request that is a sequence of its own, for warm-up samples that lack them."""
    if plan is None:
        return {}
    inputs = {**plan.controls[SEQUENCE_START | SEQUENCE_END]}
    if plan.id_control is not None:
        inputs[plan.id_control.name] = id_tensor(plan, plan.id_control, 1)
    return inputs | {state.spec.name: state.initial for state in plan.states}


def id_tensor(plan: SequencePlan, spec: TensorSpec, sequence_id: int | str) -> Tensor:
    """Return a correlation id as a tensor; of a number that is too large, the low bytes, as in Triton."""
    shape = plan.control_shape
    if spec.datatype == "BYTES":
        text = str(sequence_id).encode()
        return Tensor(spec.name, "BYTES", shape, raw=len(text).to_bytes(4, "little") + text)
    size = BY_NAME[spec.datatype].size
    number = int(sequence_id) & ((1 << 8 * size) - 1)
    return Tensor(spec.name, spec.datatype, shape, raw=number.to_bytes(size, "little"))


def _controls(batching: model_config_pb2.ModelSequenceBatching, flags: int | None, *, batched: bool) -> Tensors:
    """Return the boolean controls of a request with `flags`, or with None those of a place without a request."""
    ready = flags is not None
    flags = flags or 0
    truth = {
        _Control.CONTROL_SEQUENCE_START: bool(flags & SEQUENCE_START),
        _Control.CONTROL_SEQUENCE_END: bool(flags & SEQUENCE_END),
        _Control.CONTROL_SEQUENCE_READY: ready,
    }
    tensors = {}
    for tensor in batching.control_input:
        for control in tensor.control:
            if control.kind in truth:
                tensors[tensor.name] = _control(tensor.name, control, truth[control.kind], batched=batched)
    return MappingProxyType(tensors)


def _control(name: str, control: Any, value: bool, *, batched: bool) -> Tensor:
    key = _value_field(control)
    raw = struct.pack(_VALUES[key][1], getattr(control, key)[value])
    return Tensor(name, _VALUES[key][0], _one(batched=batched), raw=raw)


def _value_field(control: Any) -> str:
    return next(key for key in _VALUES if getattr(control, key))


def _one(*, batched: bool) -> tuple[int, ...]:
    return (1, 1) if batched else (1,)


def _id_control(batching: model_config_pb2.ModelSequenceBatching) -> TensorSpec | None:
    for tensor in batching.control_input:
        for control in tensor.control:
            if control.kind == _Control.CONTROL_SEQUENCE_CORRID:
                return TensorSpec(tensor.name, _datatype(control.data_type), (1,))
    return None


def _datatype(number: int) -> str:
    return BY_CONFIG_NAME[model_config_pb2.DataType.Name(number)].name


def _state(state: Any, model_directory: Path, *, batched: bool) -> ImplicitState:
    datatype = _datatype(state.data_type)
    dims = tuple(state.dims)
    spec = TensorSpec(state.input_name, datatype, dims)
    given = state.initial_state[0] if state.initial_state else None
    first = tuple(given.dims) if given is not None else tuple(1 if size == -1 else size for size in dims)
    shape = (1, *first) if batched else first
    source = "zero_data" if given is None else given.WhichOneof("state_data")
    if given is not None and source == "data_file":
        raw = _read(given.data_file, model_directory, spec, prod(shape))
        return ImplicitState(spec, state.output_name, Tensor(spec.name, datatype, shape, raw=raw))
    if datatype == "BYTES":
        return ImplicitState(spec, state.output_name, Tensor(spec.name, datatype, shape, raw=bytes(4 * prod(shape))))
    zeros = np.zeros(shape, dtype=BY_NAME[datatype].numpy)
    return ImplicitState(spec, state.output_name, Tensor(spec.name, datatype, shape, array=zeros))


def _read(file_name: str, model_directory: Path, spec: TensorSpec, elements: int) -> bytes:
    root = (model_directory / DIRECTORY).resolve()
    path = (root / file_name).resolve()
    if not path.is_relative_to(root):
        raise _unreadable(spec, file_name, f"it must stay within the model's '{DIRECTORY}' directory")
    if not path.is_file():
        raise _unreadable(spec, file_name, "there is no such file")
    wanted = elements * BY_NAME[spec.datatype].size
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_TEXT_BYTES + 1 if spec.datatype == "BYTES" else wanted)
    except OSError as error:
        raise _unreadable(spec, file_name, str(error.strerror)) from error
    if spec.datatype == "BYTES":
        _check_strings(raw, elements, spec, file_name)
    if len(raw) < wanted:
        text = f"initial_state setting expects {wanted} bytes, but the data provided from {file_name} only has"
        raise refused(_problem(f"{text} {len(raw)} bytes."))
    return raw


def _check_strings(raw: bytes, elements: int, spec: TensorSpec, file_name: str) -> None:
    if len(raw) > MAX_TEXT_BYTES:
        raise _unreadable(spec, file_name, f"it has more than {MAX_TEXT_BYTES >> 20} MiB")
    try:
        count = count_elements(raw)
    except TruncatedElementError:
        raise _unreadable(spec, file_name, "its last string is incomplete") from None
    if count != elements:
        raise _unreadable(spec, file_name, f"it has {count} strings, {elements} are expected")


def _unreadable(spec: TensorSpec, file_name: str, reason: str) -> SlipwayError:
    text = f"cannot read file '{file_name}' of the initial state of state input '{spec.name}': {reason}"
    return refused(_problem(text))


def _problem(text: str) -> Problem:
    fix = f"put the data into the model's directory '{DIRECTORY}'"
    return Problem(Rule.SEQUENCE_BATCHING, text, ("sequence_batching",), fix)
