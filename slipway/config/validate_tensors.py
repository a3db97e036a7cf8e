"""What is wrong with the declared inputs, outputs, and tensors that describe a batch. Pure; texts are Triton's.

Source: Triton `model_config_utils.cc` (rules), the real server's answers (texts). Knows no schedulers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

from tritonclient.grpc import model_config_pb2

MAX_DIMS: Final = 63  # an array has at most 64 in numpy, one of them for the batch

_INPUT: Final = model_config_pb2.ModelInput
_BATCH_DATATYPES: Final = (model_config_pb2.TYPE_INT32, model_config_pb2.TYPE_FP32)


def tensor_problems(config: model_config_pb2.ModelConfig) -> Iterator[str]:
    """Yield the problems of the inputs and outputs."""
    for kind, tensors in (("input", config.input), ("output", config.output)):
        seen: set[str] = set()
        for tensor in tensors:
            for problem in _tensor_problems(tensor, kind, batching=config.max_batch_size > 0):
                yield f"{problem} for {config.name}"
            if tensor.name and tensor.name in seen:
                yield f"model {kind} '{tensor.name}' is specified more than once for {config.name}"
            seen.add(tensor.name)
    for tensor in config.input:
        if tensor.format != _INPUT.FORMAT_NONE and len(tensor.dims) != 3:
            yield f"model input NHWC/NCHW require 3 dims for {config.name}"


def _tensor_problems(tensor: Any, kind: str, *, batching: bool) -> Iterator[str]:
    if not tensor.name:
        yield f"model {kind} must specify 'name'"
    label = f"model {kind} '{tensor.name}'"
    if tensor.data_type == model_config_pb2.TYPE_INVALID:
        yield f"{label} must specify 'data_type'"
    if not tensor.dims:
        yield f"{label} must specify 'dims'"
    elif max(len(tensor.dims), len(tensor.reshape.shape)) > MAX_DIMS:
        yield f"{label} has more than {MAX_DIMS} dims"
    elif not _are_sizes(tensor.dims):
        yield f"{label} dimension must be integer >= 1, or -1 to indicate a variable-size dimension"
    elif tensor.HasField("reshape"):
        yield from _reshape_problems(label, tensor.dims, tensor.reshape.shape, batching=batching)
    if tensor.is_shape_tensor:
        yield "shape tensors are only supported for TensorRT platform"
    if tensor.is_non_linear_format_io:
        yield "Non-linear IO format is only supported for the TensorRT platform"


def _are_sizes(dims: Sequence[int]) -> bool:
    return all(size >= 1 or size == -1 for size in dims)


def _reshape_problems(label: str, dims: Sequence[int], shape: Sequence[int], *, batching: bool) -> Iterator[str]:
    """Yield why `dims` cannot be reshaped to `shape`: the elements between variable sizes must be as many."""
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
    """Return the number of elements of each stretch of fixed sizes, variable sizes standing between them."""
    stretches: list[list[int]] = [[]]
    for size in dims:
        if size == -1:
            stretches.append([])
        else:
            stretches[-1].append(size)
    return [math.prod(stretch) for stretch in stretches]


def batch_problems(config: model_config_pb2.ModelConfig) -> Iterator[str]:
    """Yield the problems of the tensors that describe a batch (batch_input) or are cut up by one (batch_output)."""
    name = config.name
    inputs = {tensor.name for tensor in config.input}
    outputs = {tensor.name for tensor in config.output}
    for row in config.batch_input:
        kind = model_config_pb2.BatchInput.Kind.Name(row.kind)
        if row.data_type not in _BATCH_DATATYPES:
            yield f"batch input data type must be TYPE_INT32 or TYPE_FP32 for {name}"
        yield from _source_problems(f"batch input kind '{kind}'", row.source_input, inputs, name)
    for row in config.batch_output:
        kind = model_config_pb2.BatchOutput.Kind.Name(row.kind)
        yield from _source_problems(f"batch output kind '{kind}'", row.source_input, inputs, name)
        for target in dict.fromkeys(row.target_name):
            if target not in outputs:
                yield f"unknown target output name '{target}' for {name}"
            if list(row.target_name).count(target) > 1:
                yield f"target output name '{target}' can only be specified once for {name}"


def _source_problems(label: str, sources: Sequence[str], inputs: set[str], name: str) -> Iterator[str]:
    if len(sources) != 1:
        yield f"{label} expects 1 source input, got {len(sources)} for {name}"
    for source in sources:
        if source not in inputs:
            yield f"unknown source input name '{source}' for {name}"
