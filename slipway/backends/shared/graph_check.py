"""Check a configuration against the graph it describes when the model loads.

Pure, and the same for every backend that can read its graph. Texts and order are those of Triton's onnxruntime
backend, with all problems of a model in one message; each fix says what the graph has. Less strict than Triton in one
case: a size that an output can have (a number where the graph has -1, or the reverse) is not a contradiction.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from tritonclient.grpc import model_config_pb2

from slipway.backends.shared.batch_tensor_check import batch_input_problems, batch_tensor_problems
from slipway.backends.shared.graph import VARIABLE_AXIS, Graph, GraphTensor
from slipway.config.ragged import batch_input_names
from slipway.config.sequences import declared_inputs, declared_outputs
from slipway.config.validate_tensors import TOKENIZER_TENSORS
from slipway.errors import refused
from slipway.problems import FieldPath, Named, Problem, Rule

_ANY_DIMS: Final = "the dims that the model has, without the batch axis when max_batch_size is above 0"


def check_config(config: model_config_pb2.ModelConfig, graph: Graph) -> None:
    """Raise INVALID_ARG with every disagreement between `config` and `graph`."""
    problems = [*_input_count(config, graph)]
    allowed = {**graph.inputs, **graph.initializers}
    for declared in config.input:
        problems += _tensor_problems(config, declared, allowed, "input")
        if declared.optional and config.max_batch_size > 0:
            text = (
                f"unable to load model '{config.name}', optional input '{declared.name}' is not supported for models "
                f"that support batching"
            )
            path = ("input", Named(declared.name), "optional")
            problems.append(Problem(Rule.OPTIONAL_INPUT, text, path, "remove optional"))
    for control in declared_inputs(config)[len(config.input) :]:
        problems += _tensor_problems(config, control, graph.inputs, "input")
    problems += batch_tensor_problems(config)
    problems += batch_input_problems(config, graph, _unknown_input)
    for declared in declared_outputs(config):
        problems += _tensor_problems(config, declared, graph.outputs, "output")
    if problems:
        raise refused(*problems, separator="\n")


def _input_count(config: model_config_pb2.ModelConfig, graph: Graph) -> Iterator[Problem]:
    sequence = config.sequence_batching
    added = batch_input_names(config)
    expected = sum(not declared.optional for declared in config.input) + len(added)
    expected += len(sequence.control_input) + len(sequence.state)
    if expected == len(graph.inputs):
        return
    text = (
        f"unable to load model '{config.name}', configuration expects {expected} inputs, model provides "
        f"{len(graph.inputs)}"
    )
    names = {*(declared.name for declared in config.input), *added}
    missing = [f"{tensor.name} ({tensor.config_type})" for name, tensor in graph.inputs.items() if name not in names]
    fix = f"declare {', '.join(missing)}" if missing else "remove the inputs that the model does not have"
    yield Problem(Rule.INPUT_COUNT, text, ("input",), fix)


def _tensor_problems(
    config: model_config_pb2.ModelConfig, declared: Any, allowed: Mapping[str, GraphTensor], kind: str
) -> Iterator[Problem]:
    provided = allowed.get(declared.name)
    if provided is None:
        yield _unknown_tensor(declared.name, sorted(allowed), kind)
        return
    path = (kind, Named(declared.name))
    config_type = model_config_pb2.DataType.Name(declared.data_type)
    if config_type != provided.config_type:
        text = (
            f"unable to load model '{config.name}', configuration expects datatype {config_type} for {kind} "
            f"'{declared.name}', model provides {provided.config_type.replace('TYPE_STRING', 'TYPE_BYTES')}"
        )
        entry = f"data_type: {provided.config_type}"
        yield Problem(Rule.DATATYPE_NOT_GRAPH, text, (*path, "data_type"), f"write {entry}", entry=entry)
    if kind == "output" and any(declared.name in row.target_name for row in config.batch_output):
        return  # it has the shape of its source only once it is divided
    if kind == "input" and declared.allow_ragged_batch:
        if declared.optional:
            text = (
                f"unable to load model '{config.name}', configuration expects model provides input with shape [-1] for "
                f"ragged input '{declared.name}', which is not supported for optional input"
            )
            yield Problem(Rule.OPTIONAL_INPUT, text, (*path, "optional"), "remove optional")
        if provided.dims != (-1,):
            text = (
                f"unable to load model '{config.name}', configuration expects model provides input with shape [-1]  "
                f"for ragged input '{declared.name}', model provides {_text(provided.dims)}"
            )
            yield Problem(Rule.DIMS_NOT_GRAPH, text, (*path, "allow_ragged_batch"), _ragged_fix(declared.name))
        return
    if _has_fixed_rows(config, provided):
        yield _fixed_rows(config.name, provided)
        return
    text = _dims_text(config, declared, provided, is_output=kind == "output")
    if text:
        entry = _dims_entry(config, declared, provided)
        yield Problem(Rule.DIMS_NOT_GRAPH, text, (*path, "dims"), f"write {entry or _ANY_DIMS}", entry=entry)


def _unknown_input(name: str, allowed: Sequence[str], path: FieldPath) -> Problem:
    return replace(_unknown_tensor(name, allowed, "input"), path=path)


def _unknown_tensor(name: str, allowed: Sequence[str], kind: str) -> Problem:
    listed = ", ".join(allowed)
    text = f"unexpected inference {kind} '{name}', allowed {kind}s are: {listed}"
    path = (kind, Named(name), "name")
    if kind == "input" and name in TOKENIZER_TENSORS:
        fix = f"remove {name} here and from the input_map of ensembles: the model does not have it"
        return Problem(Rule.TOKENIZER_INPUT_UNKNOWN, text, path, fix)
    close = difflib.get_close_matches(name, allowed, n=1)
    fix = f"write {close[0]} instead of {name}" if close else f"remove {name}, or rename it to one of {listed}"
    return Problem(Rule.TENSOR_NOT_IN_GRAPH, text, path, fix)


def _ragged_fix(name: str) -> str:
    return f"remove allow_ragged_batch, or export the model with one variable axis for all rows of {name}"


def _has_fixed_rows(config: model_config_pb2.ModelConfig, tensor: GraphTensor) -> bool:
    return bool(config.max_batch_size > 0 and tensor.dims and tensor.dims[0] != -1)


def _fixed_rows(model: str, tensor: GraphTensor) -> Problem:
    text = (
        f"model '{model}', tensor '{tensor.name}': for the model to support batching the shape should have at least "
        f"1 dimension and the first dimension must be -1; but shape expected by the model is {_text(tensor.dims)}"
    )
    return Problem(Rule.BATCH_AXIS_FIXED, text, ("max_batch_size",), VARIABLE_AXIS)


def _dims_text(config: model_config_pb2.ModelConfig, declared: Any, provided: GraphTensor, *, is_output: bool) -> str:
    """Return how the declared dims and those of the graph disagree, "" where they do not."""
    dims = tuple(declared.reshape.shape if declared.HasField("reshape") else declared.dims)
    if not provided.ranked:
        return ""
    if not provided.dims:
        if all(size == 1 for size in dims):
            return ""
        return (
            f"unable to load model '{config.name}', scalar tensor '{declared.name}', should only provide 1 in the "
            f"model configuration when the model doesn't support batching. Model configuration provided: "
            f"{_text(dims)}."
        )
    batched = config.max_batch_size > 0
    full = (-1, *dims) if batched else dims
    if _agree(provided.dims, full, is_output=is_output):
        return ""
    specified = (
        f"model '{config.name}', tensor '{declared.name}': the model expects {len(provided.dims)} dimensions (shape "
        f"{_text(provided.dims)}) but the model configuration specifies {len(full)} dimensions"
    )
    if batched:
        return (
            f"{specified} (an initial batch dimension because max_batch_size > 0 followed by the explicit tensor "
            f"shape, making complete shape {_text(full)})"
        )
    return f"{specified} (shape {_text(full)})"


def _dims_entry(config: model_config_pb2.ModelConfig, declared: Any, provided: GraphTensor) -> str:
    """Return the graph's dims as a config entry, "" where an entry for dims alone cannot express them."""
    dims = provided.dims[1:] if config.max_batch_size > 0 else provided.dims
    return "" if declared.HasField("reshape") or not dims else f"dims: [ {', '.join(map(str, dims))} ]"


def _agree(model: tuple[int, ...], full: tuple[int, ...], *, is_output: bool) -> bool:
    """Return whether the graph can accept, or return, tensors of the declared shape."""
    if len(model) != len(full):
        return False
    pairs = zip(model, full, strict=True)
    return all(ours in (theirs, -1) or (is_output and theirs == -1) for ours, theirs in pairs)


def _text(dims: Sequence[int]) -> str:
    return "[" + ",".join(map(str, dims)) + "]"
