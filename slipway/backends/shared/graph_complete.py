"""Fill a configuration from a graph: inputs, outputs, batching.

Pure, and the same for every backend that can read its graph. The rules are those of Triton's onnxruntime backend
(`src/onnxruntime.cc`, auto-completion).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from tritonclient.grpc import model_config_pb2

from slipway.backends.api import CompletionContext
from slipway.backends.shared.graph import VARIABLE_AXIS, WHOLE_SHAPES, Graph, GraphTensor
from slipway.config.sequences import declared_inputs
from slipway.errors import refused
from slipway.problems import Problem, Rule

_LOG: Final = logging.getLogger("slipway.backends")


def is_complete(config: model_config_pb2.ModelConfig) -> bool:
    """Return whether inputs and outputs are both given, so that the graph need not be read."""
    return bool((config.input or config.batch_input) and config.output)


def complete_unless_given(
    config: model_config_pb2.ModelConfig, context: CompletionContext, read: Callable[[str, Path], Graph]
) -> None:
    """Fill `config` in place from the graph that `read(model name, version directory)` returns, unless inputs and
    outputs are both given."""
    name = config.name or context.model_directory.name
    if is_complete(config):
        _LOG.info("skipping model configuration auto-complete for '%s': inputs and outputs already specified", name)
    elif context.version_directory is not None:
        default = int(context.backend_config.get("default-max-batch-size", context.default_max_batch_size))
        complete_from_graph(config, read(name, context.version_directory), name, default)


def complete_from_graph(
    config: model_config_pb2.ModelConfig, graph: Graph, model_name: str, default_max_batch_size: int
) -> None:
    """Fill in place what is missing; raise INVALID_ARG when the config requests batching and the graph cannot batch,
    and for a tensor whose shape is neither in the graph nor declared."""
    added = {each.name for each in declared_inputs(config)[len(config.input) :]}
    inputs = [tensor for name, tensor in graph.inputs.items() if name not in added]
    wanted = [] if config.input or config.batch_input else inputs
    problems = [_shapeless(each, "input") for each in wanted if not each.ranked]
    problems += [_shapeless(each, "output") for each in graph.outputs.values() if not config.output and not each.ranked]
    if problems:
        raise refused(*problems)
    _complete_batching(config, graph, model_name, default_max_batch_size)
    batched = config.max_batch_size > 0
    if not config.input and not config.batch_input:
        _add_tensors(config.input, inputs, batched)
    if not config.output:
        _add_tensors(config.output, graph.outputs.values(), batched)


def _shapeless(tensor: GraphTensor, kind: str) -> Problem:
    text = f"the model file does not specify the shape of {kind} '{tensor.name}', so it must be declared with its dims"
    entry = f'{{ name: "{tensor.name}" data_type: {tensor.config_type} dims: [ ... ] }}'
    fix = f"declare every {kind}, this one as {entry}, or export the model with shapes"
    return Problem(Rule.DIMS_UNKNOWN, text, (kind,), fix)


def _complete_batching(
    config: model_config_pb2.ModelConfig, graph: Graph, model_name: str, default_max_batch_size: int
) -> None:
    if not graph.can_batch:
        if config.max_batch_size != 0:
            text = (
                f"autofill failed for model '{model_name}': model does not support batching while non-zero "
                f"max_batch_size is specified"
            )
            text += f": {graph.unbatched}" if graph.unbatched else ""
            fix = WHOLE_SHAPES if graph.unbatched else VARIABLE_AXIS
            raise refused(Problem(Rule.BATCH_AXIS_FIXED, text, ("max_batch_size",), fix))
        if graph.unbatched:
            _LOG.warning("model '%s' runs without batching: %s", model_name, graph.unbatched)
        return
    if config.max_batch_size == 0:
        config.max_batch_size = max(default_max_batch_size, 0)
        _LOG.warning(
            "autofilled max_batch_size to %d for model '%s' since batching is supported but no max_batch_size is "
            "specified in model configuration. Must specify max_batch_size to utilize autofill with a larger max "
            "batch size",
            config.max_batch_size,
            model_name,
        )
    if config.max_batch_size > 1 and config.WhichOneof("scheduling_choice") is None:
        config.dynamic_batching.SetInParent()


def _add_tensors(declared: Any, tensors: Iterable[GraphTensor], batched: bool) -> None:
    for tensor in tensors:
        entry = declared.add(name=tensor.name, data_type=model_config_pb2.DataType.Value(tensor.config_type))
        entry.dims.extend(tensor.dims[1:] if batched else tensor.dims)
        if not entry.dims:
            entry.dims.append(1)
            if batched:  # without a batch dimension an empty reshape is invalid; the backend adapts the shape
                entry.reshape.SetInParent()
