"""Hold a configuration against the graph it describes, when the model loads.

Pure, and the same for every backend that can read its graph. Texts and order are those of Triton's onnxruntime
backend, all problems of a model in one message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tritonclient.grpc import model_config_pb2

from slipway.backends.shared.graph import Graph, GraphTensor
from slipway.errors import invalid


def check_config(config: model_config_pb2.ModelConfig, graph: Graph) -> None:
    """Raise INVALID_ARG with every disagreement between `config` and `graph`."""
    problems = [*_input_count(config, graph)]
    allowed = {**graph.inputs, **graph.initializers}
    for declared in config.input:
        problems += _tensor(config, declared, allowed, "input")
        if declared.optional and config.max_batch_size > 0:
            problems.append(
                f"unable to load model '{config.name}', optional input '{declared.name}' is not supported for models "
                f"that support batching"
            )
    for declared in config.output:
        problems += _tensor(config, declared, graph.outputs, "output")
    if problems:
        raise invalid("\n".join(problems))


def _input_count(config: model_config_pb2.ModelConfig, graph: Graph) -> Iterable[str]:
    sequence = config.sequence_batching
    expected = sum(not declared.optional for declared in config.input) + len(config.batch_input)
    expected += len(sequence.control_input) + len(sequence.state)
    if expected != len(graph.inputs):
        yield (
            f"unable to load model '{config.name}', configuration expects {expected} inputs, model provides "
            f"{len(graph.inputs)}"
        )


def _tensor(
    config: model_config_pb2.ModelConfig, declared: Any, allowed: Mapping[str, GraphTensor], kind: str
) -> Iterable[str]:
    provided = allowed.get(declared.name)
    if provided is None:
        yield f"unexpected inference {kind} '{declared.name}', allowed {kind}s are: {', '.join(sorted(allowed))}"
        return
    config_type = model_config_pb2.DataType.Name(declared.data_type)
    if config_type != provided.config_type:
        yield (
            f"unable to load model '{config.name}', configuration expects datatype {config_type} for {kind} "
            f"'{declared.name}', model provides {provided.config_type.replace('TYPE_STRING', 'TYPE_BYTES')}"
        )
    dims = tuple(declared.reshape.shape if declared.HasField("reshape") else declared.dims)
    if kind == "input" and declared.allow_ragged_batch:
        if provided.dims != (-1,):
            yield (
                f"unable to load model '{config.name}', configuration expects model provides input with shape [-1]  "
                f"for ragged input '{declared.name}', model provides {_text(provided.dims)}"
            )
    elif provided.dims:
        yield from _dims(config, declared.name, provided.dims, dims, exact=kind == "output")
    elif any(size != 1 for size in dims):
        yield (
            f"unable to load model '{config.name}', scalar tensor '{declared.name}', should only provide 1 in the "
            f"model configuration when the model doesn't support batching. Model configuration provided: "
            f"{_text(dims)}."
        )


def _dims(
    config: model_config_pb2.ModelConfig, name: str, model: tuple[int, ...], dims: tuple[int, ...], *, exact: bool
) -> Iterable[str]:
    where = f"model '{config.name}', tensor '{name}': "
    batched = config.max_batch_size > 0
    if batched and model[0] != -1:
        yield (
            f"{where}for the model to support batching the shape should have at least 1 dimension and the first "
            f"dimension must be -1; but shape expected by the model is {_text(model)}"
        )
        return
    full = (-1, *dims) if batched else dims
    if _agree(model, full, exact=exact):
        return
    specified = f"{where}the model expects {len(model)} dimensions (shape {_text(model)}) but the model configuration "
    if batched:
        yield (
            f"{specified}specifies {len(full)} dimensions (an initial batch dimension because max_batch_size > 0 "
            f"followed by the explicit tensor shape, making complete shape {_text(full)})"
        )
    else:
        yield f"{specified}specifies {len(full)} dimensions (shape {_text(full)})"


def _agree(model: tuple[int, ...], full: tuple[int, ...], *, exact: bool) -> bool:
    if len(model) != len(full):
        return False
    return all(ours == theirs or (ours == -1 and not exact) for ours, theirs in zip(model, full, strict=True))


def _text(dims: Sequence[int]) -> str:
    return "[" + ",".join(map(str, dims)) + "]"
