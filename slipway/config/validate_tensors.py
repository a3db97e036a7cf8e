"""Find the problems of declared inputs and outputs, and of tensors that describe a batch. Pure; texts are Triton's.

Source: Triton `model_config_utils.cc` (rules), the real server's answers (texts). Knows nothing of schedulers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from tritonclient.grpc import model_config_pb2

from slipway.problems import Named, Problem, Rule

MAX_DIMS: Final = 63  # numpy allows 64, one of them for the batch

# Inputs of text models that come from a tokenizer; a mismatch in one of them has a rule of its own.
TOKENIZER_TENSORS: Final = frozenset({"input_ids", "attention_mask", "token_type_ids", "position_ids"})

_INPUT: Final = model_config_pb2.ModelInput
_BATCH_DATATYPES: Final = (model_config_pb2.TYPE_INT32, model_config_pb2.TYPE_FP32)


def tensor_problems(config: model_config_pb2.ModelConfig) -> Iterator[Problem]:
    """Yield the problems of the inputs and outputs."""
    for kind, tensors in (("input", config.input), ("output", config.output)):
        seen: set[str] = set()
        for tensor in tensors:
            for problem in _tensor_problems(tensor, kind, batching=config.max_batch_size > 0):
                yield replace(problem, text=f"{problem} for {config.name}")
            if tensor.name and tensor.name in seen:
                text = f"model {kind} '{tensor.name}' is specified more than once for {config.name}"
                yield Problem(Rule.TENSOR_DECLARED_TWICE, text, (kind, Named(tensor.name)), "remove one of them")
            seen.add(tensor.name)
    for tensor in config.input:
        if tensor.format != _INPUT.FORMAT_NONE and len(tensor.dims) != 3:
            text = f"model input NHWC/NCHW require 3 dims for {config.name}"
            yield Problem(Rule.INPUT_FORMAT, text, ("input",), "use 3 dims, or remove the format")


def _tensor_problems(tensor: Any, kind: str, *, batching: bool) -> Iterator[Problem]:
    if not tensor.name:
        yield Problem(Rule.FIELD_MISSING, f"model {kind} must specify 'name'", (kind,), "add a name")
    is_given = {"data_type": tensor.data_type != model_config_pb2.TYPE_INVALID, "dims": bool(tensor.dims)}
    for field in (field for field, given in is_given.items() if not given):
        text = f"model {kind} '{tensor.name}' must specify '{field}'"
        yield Problem(Rule.FIELD_MISSING, text, (kind, Named(tensor.name), field), f"add {field} to {tensor.name}")
    if tensor.dims:
        yield from _dims_problems(tensor, kind, batching=batching)
    if tensor.is_shape_tensor:
        text = "shape tensors are only supported for TensorRT platform"
        yield Problem(Rule.TENSORRT_ONLY, text, fix="remove is_shape_tensor")
    if tensor.is_non_linear_format_io:
        text = "Non-linear IO format is only supported for the TensorRT platform"
        yield Problem(Rule.TENSORRT_ONLY, text, fix="remove is_non_linear_format_io")


def _dims_problems(tensor: Any, kind: str, *, batching: bool) -> Iterator[Problem]:
    label, path = f"model {kind} '{tensor.name}'", (kind, Named(tensor.name))
    if max(len(tensor.dims), len(tensor.reshape.shape)) > MAX_DIMS:
        yield Problem(Rule.LIMIT_EXCEEDED, f"{label} has more than {MAX_DIMS} dims", (*path, "dims"))
    elif not _are_sizes(tensor.dims):
        text = f"{label} dimension must be integer >= 1, or -1 to indicate a variable-size dimension"
        yield Problem(Rule.DIMS_INVALID, text, (*path, "dims"), "use sizes of 1 or more, or -1 for a variable size")
    elif tensor.HasField("reshape"):
        fix = "use a reshape with as many elements as dims"
        for text in _reshape_texts(label, tensor.dims, tensor.reshape.shape, batching=batching):
            yield Problem(Rule.RESHAPE_MISMATCH, text, (*path, "reshape"), fix)


def _are_sizes(dims: Sequence[int]) -> bool:
    return all(size >= 1 or size == -1 for size in dims)


def _reshape_texts(label: str, dims: Sequence[int], shape: Sequence[int], *, batching: bool) -> Iterator[str]:
    """Yield why `dims` cannot be reshaped to `shape`: the element counts between variable sizes must match."""
    if not shape and not batching:
        yield f"{label} cannot have empty reshape for non-batching model as scalar tensors are not supported"
    elif not _are_sizes(shape):
        yield f"{label} reshape dimensions must be integer >= 1, or -1 to indicate a variable-size dimension"
    elif (-1 in dims) != (-1 in shape):
        yield f"{label} has different size for dims and reshape"
    elif list(dims).count(-1) != list(shape).count(-1):
        yield f"{label} has different number of variable-size dimensions for dims and reshape"
    elif _counts(dims) != _counts(shape):
        yield f"{label} has different size for dims and reshape"


def _counts(dims: Sequence[int]) -> list[int]:
    """Return the element count of each run of fixed sizes between variable sizes."""
    stretches: list[list[int]] = [[]]
    for size in dims:
        if size == -1:
            stretches.append([])
        else:
            stretches[-1].append(size)
    return [math.prod(stretch) for stretch in stretches]


def batch_problems(config: model_config_pb2.ModelConfig) -> Iterator[Problem]:
    """Yield the problems of the tensors that describe a batch (batch_input) or are split by it (batch_output)."""
    fix = "name an input or output of the model, with a kind and data_type that batching supports"
    for field, text in _batch_texts(config):
        yield Problem(Rule.BATCH_TENSORS, text, (field,), fix)


def _batch_texts(config: model_config_pb2.ModelConfig) -> Iterator[tuple[str, str]]:
    """Yield each problem as its field and its text."""
    name = config.name
    inputs = {tensor.name for tensor in config.input}
    outputs = {tensor.name for tensor in config.output}
    for row in config.batch_input:
        kind = model_config_pb2.BatchInput.Kind.Name(row.kind)
        if row.data_type == model_config_pb2.TYPE_INVALID:
            yield "batch_input", "unexpected batch input data type 'TYPE_INVALID'"
        elif row.data_type not in _BATCH_DATATYPES:
            yield "batch_input", f"batch input data type must be TYPE_INT32 or TYPE_FP32 for {name}"
        for text in _source_texts(f"batch input kind '{kind}'", row.source_input, inputs, name):
            yield "batch_input", text
    for row in config.batch_output:
        kind = model_config_pb2.BatchOutput.Kind.Name(row.kind)
        for text in _source_texts(f"batch output kind '{kind}'", row.source_input, inputs, name):
            yield "batch_output", text
        for target in dict.fromkeys(row.target_name):
            if target not in outputs:
                yield "batch_output", f"unknown target output name '{target}' for {name}"
            if list(row.target_name).count(target) > 1:
                yield "batch_output", f"target output name '{target}' can only be specified once for {name}"


def _source_texts(label: str, sources: Sequence[str], inputs: set[str], name: str) -> Iterator[str]:
    if len(sources) != 1:
        yield f"{label} expects 1 source input, got {len(sources)} for {name}"
    for source in sources:
        if source not in inputs:
            yield f"unknown source input name '{source}' for {name}"
