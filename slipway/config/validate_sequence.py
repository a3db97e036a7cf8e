"""Find the problems of sequence batching: strategy, control tensors and states. Pure; the texts are Triton's.

Source: Triton `model_config_utils.cc` (rules), the real server's answers (texts).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.config.validate_scheduling import preferred_size_problems
from slipway.problems import Problem, Rule

MAX_STATE_ELEMENTS: Final = 1 << 28  # of one sequence, allocated when the model is loaded

_VARIABLE: Final = -1
_Control: Final = model_config_pb2.ModelSequenceBatching.Control
_VALUES: Final = ("int32_false_true", "fp32_false_true", "bool_false_true")
_ANY_VALUES: Final = "'int32_false_true', 'fp32_false_true' or 'bool_false_true'"
_ALL_VALUES: Final = "'int32_false_true', 'fp32_false_true' and 'bool_false_true'"
_ID_DATATYPES: Final = (
    model_config_pb2.TYPE_UINT64,
    model_config_pb2.TYPE_INT64,
    model_config_pb2.TYPE_UINT32,
    model_config_pb2.TYPE_INT32,
    model_config_pb2.TYPE_STRING,
)


def sequence_problems(config: model_config_pb2.ModelConfig) -> Iterator[Problem]:
    """Yield the problems of `sequence_batching`."""
    sequence = config.sequence_batching
    strategy = sequence.WhichOneof("strategy_choice")
    if strategy == "oldest":
        path = ("sequence_batching", "oldest", "preferred_batch_size")
        sizes = sequence.oldest.preferred_batch_size
        label = "sequence batching preferred batch size"
        yield from preferred_size_problems(label, sizes, config.max_batch_size, path=path, name=config.name)
    elif strategy == "direct" and not 0 <= sequence.direct.minimum_slot_utilization <= 1:
        yield _problem(f"sequence batching minimum slot utilization must be in range (0.0, 1.0] for {config.name}")
    yield from map(_problem, _control_texts(config))
    yield from map(_problem, _repeated_state_texts(sequence.state))
    for state in sequence.state:
        yield from map(_problem, _state_texts(state))


def _problem(text: str) -> Problem:
    fix = "give each control tensor a name and one pair of values, and each state its initial data"
    return Problem(Rule.SEQUENCE_BATCHING, text, ("sequence_batching",), fix)


def _control_texts(config: model_config_pb2.ModelConfig) -> Iterator[str]:
    tensors: set[str] = set()
    kinds: set[int] = set()
    for tensor in config.sequence_batching.control_input:
        if not tensor.name:
            yield f"sequence batching control tensor must have a name for {config.name}"
        elif tensor.name in tensors:
            yield (
                f"sequence batching control tensor '{tensor.name}' is specified for multiple control kinds "
                f"for {config.name}"
            )
        tensors.add(tensor.name)
        for control in tensor.control:
            kind = _Control.Kind.Name(control.kind)
            if control.kind in kinds:
                yield f"sequence batching specifies multiple {kind} tensors for {config.name}"
            kinds.add(control.kind)
            yield from _value_texts(control, f"{kind} for {config.name}")


def _value_texts(control: model_config_pb2.ModelSequenceBatching.Control, place: str) -> Iterator[str]:
    given = [field for field in _VALUES if getattr(control, field)]
    if control.kind == _Control.CONTROL_SEQUENCE_CORRID:
        if given:
            yield f"sequence batching must not specify either {_ANY_VALUES} for {place}"
        if control.data_type not in _ID_DATATYPES:
            yield (
                f"unexpected data type for control {place}. Allowed data types are TYPE_UINT64, TYPE_INT64, "
                "TYPE_UINT32, TYPE_INT32 and TYPE_STRING"
            )
    elif not given:
        yield f"sequence batching must specify either {_ANY_VALUES} for {place}"
    elif len(given) > 1:
        yield f"sequence batching specifies more than one from {_ALL_VALUES} for {place}"
    elif len(getattr(control, given[0])) != 2:
        yield f"sequence batching control '{given[0]}' must have exactly 2 entries for {place}"


def _repeated_state_texts(states: Iterable[model_config_pb2.ModelSequenceBatching.State]) -> Iterator[str]:
    """Yield the names that two states share. Triton ignores the second one, with a warning."""
    for kind in ("input", "output"):
        counts = Counter(getattr(state, f"{kind}_name") for state in states)
        for name in (name for name, count in counts.items() if name and count > 1):
            yield f"State {kind} name '{name}' specified more than once."


def _state_texts(state: model_config_pb2.ModelSequenceBatching.State) -> Iterator[str]:
    name = state.input_name
    for field in ("input_name", "output_name", "data_type"):
        if not getattr(state, field):
            yield f"state '{name or state.output_name}' must specify '{field}'"
    if any(size < 1 and size != _VARIABLE for size in state.dims):
        yield f"state '{name}' dimension must be integer >= 1, or -1 to indicate a variable-size dimension"
    if len(state.initial_state) > 1:
        yield (
            f"initial_state field for state input '{name}' must contain exactly one or zero element. "
            f"Found '{len(state.initial_state)}' elements."
        )
    for initial in state.initial_state:
        if not initial.name:
            yield f"Field 'name' must be set when using initial_state for state input '{name}'."
        if initial.data_type != state.data_type:
            yield (
                f"The data type used for 'initial_state' field of state '{name}' does not match the state data type."
            )
        if initial.WhichOneof("state_data") is None:
            yield f"initial_state setting expects state'{name}' to have state_data set"
        yield from _initial_dims_texts(state, initial)


def _initial_dims_texts(
    state: model_config_pb2.ModelSequenceBatching.State, initial: model_config_pb2.ModelSequenceBatching.InitialState
) -> Iterator[str]:
    name = state.input_name
    if len(initial.dims) != len(state.dims):
        yield (
            f"Number of dimensions in 'initial_state' doesn't match the size of 'state' dimensions for state input "
            f"'{name}'. {len(initial.dims)} != {len(state.dims)}"
        )
        return
    if any(size < 0 for size in initial.dims):
        yield f"'initial_state' field for state input name '{name}' contains variable dimensions."
        return
    for given, declared in zip(initial.dims, state.dims, strict=True):
        if declared not in (_VARIABLE, given):
            yield (
                f"'initial_state' dim for input name '{name}' doesn't match 'state' dim description. "
                f"{given} != {declared}"
            )
            return
    if math.prod(initial.dims) > MAX_STATE_ELEMENTS:
        yield f"'initial_state' for state input name '{name}' has more than {MAX_STATE_ELEMENTS} elements"
