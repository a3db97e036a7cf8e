"""Check the tensors that describe a batch, or are divided by its requests, against a graph.

Part of `graph_check.py`. Triton checks none of this at a load: there, such a model fails at every request. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from tritonclient.grpc import model_config_pb2

from slipway.backends.shared.graph import Graph, GraphTensor
from slipway.problems import FieldPath, Problem, Rule

_MATRIX: Final = "BATCH_ITEM_SHAPE"  # the only kind of batch input with two dims
_Unknown = Callable[[str, Sequence[str], FieldPath], Problem]


def batch_tensor_problems(config: model_config_pb2.ModelConfig) -> Iterator[Problem]:
    """Yield what no graph can satisfy; `config` is valid otherwise."""
    sources = {declared.name: declared for declared in config.input}
    taken = set(sources)
    for index, row in enumerate(config.batch_input):
        kind = model_config_pb2.BatchInput.Kind.Name(row.kind)
        path: FieldPath = ("batch_input", index)
        yield from _optional_source(config, f"batch input kind '{kind}'", sources[row.source_input[0]], path)
        if not row.target_name:
            text = f"unable to load model '{config.name}', batch input kind '{kind}' names no input of the model"
            yield Problem(Rule.BATCH_TENSORS, text, path, "add target_name")
        for target in row.target_name:
            if target in taken:
                text = f"unable to load model '{config.name}', batch input '{target}' is declared twice"
                yield Problem(Rule.BATCH_TENSORS, text, path, "give each input of the model one source")
            taken.add(target)
    for index, output in enumerate(config.batch_output):
        yield from _scatter_problems(config, output, sources[output.source_input[0]], ("batch_output", index))


def batch_input_problems(config: model_config_pb2.ModelConfig, graph: Graph, unknown: _Unknown) -> Iterator[Problem]:
    """Yield the disagreements with a graph; `unknown` makes the problem of an input that the graph does not have."""
    declared = {each.name for each in config.input}
    for index, row in enumerate(config.batch_input):
        path: FieldPath = ("batch_input", index, "target_name")
        for target in dict.fromkeys(row.target_name):
            if target in graph.inputs and target not in declared:
                yield from _target_problems(config, row, graph.inputs[target], path)
            elif target not in graph.inputs:
                yield unknown(target, sorted(graph.inputs), path)


def _target_problems(
    config: model_config_pb2.ModelConfig, row: model_config_pb2.BatchInput, provided: GraphTensor, path: FieldPath
) -> Iterator[Problem]:
    config_type = model_config_pb2.DataType.Name(row.data_type)
    if config_type != provided.config_type:
        text = (
            f"unable to load model '{config.name}', configuration expects datatype {config_type} for batch input "
            f"'{provided.name}', model provides {provided.config_type}"
        )
        yield Problem(Rule.DATATYPE_NOT_GRAPH, text, path, "export the model with TYPE_INT32 or TYPE_FP32 there")
    kind = model_config_pb2.BatchInput.Kind.Name(row.kind)
    dims = (-1, _rank(config, row.source_input[0])) if kind == _MATRIX else (-1,)
    fits = len(provided.dims) == len(dims) and provided.dims[1:] in (dims[1:], (-1,) * (len(dims) - 1))
    if provided.ranked and not fits:
        text = (
            f"unable to load model '{config.name}', batch input '{provided.name}' of kind '{kind}' has shape "
            f"{_text(dims)}, model provides {_text(provided.dims)}"
        )
        yield Problem(Rule.DIMS_NOT_GRAPH, text, path, "use a kind that has the shape of the model's input")


def _scatter_problems(
    config: model_config_pb2.ModelConfig, row: model_config_pb2.BatchOutput, source: Any, path: FieldPath
) -> Iterator[Problem]:
    kind = model_config_pb2.BatchOutput.Kind.Name(row.kind)
    yield from _optional_source(config, f"batch output kind '{kind}'", source, path)
    for output in config.output:
        dims = _inner(output)
        last = max((axis for axis, size in enumerate(dims) if size == -1), default=-1)
        if output.name in row.target_name and last >= len(_inner(source)):
            text = (
                f"unable to load model '{config.name}', dim {last} of batch output '{output.name}' is variable, but "
                f"its source input '{source.name}' has {len(_inner(source))} dims"
            )
            yield Problem(Rule.BATCH_TENSORS, text, path, "give the output no more variable dims than the source has")


def _optional_source(
    config: model_config_pb2.ModelConfig, label: str, source: Any, path: FieldPath
) -> Iterator[Problem]:
    if source.optional:
        text = f"unable to load model '{config.name}', {label} needs input '{source.name}', which is optional"
        yield Problem(Rule.BATCH_TENSORS, text, (*path, "source_input"), f"remove optional from {source.name}")


def _rank(config: model_config_pb2.ModelConfig, name: str) -> int:
    """Return the number of dims of an input inside the model, without the first one, which counts as its rows."""
    rank = next(len(_inner(declared)) for declared in config.input if declared.name == name)
    return rank if config.max_batch_size > 0 else rank - 1


def _inner(declared: Any) -> Sequence[int]:
    shape: Sequence[int] = declared.reshape.shape if declared.HasField("reshape") else declared.dims
    return shape


def _text(dims: Sequence[int]) -> str:
    return "[" + ",".join(map(str, dims)) + "]"
