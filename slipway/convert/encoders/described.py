"""The interface of a graph, as `slipway config create` and auto-completion write it, and shapes in both directions.

All three share one description: `complete_from_graph`. A config declares at least one dim for every tensor, so a tensor
with only a batch axis, or a scalar, has different shapes in requests and in the graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from tritonclient.grpc import model_config_pb2

from slipway.backends.shared.graph import Graph
from slipway.backends.shared.graph_complete import complete_from_graph
from slipway.config.signature import tensor_spec
from slipway.convert.arrays import MAX_BATCH_SIZE, Arrays
from slipway.convert.candidates.subject import Interface
from slipway.convert.encoders.sampling import IDS, MASK
from slipway.core.signature import TensorSpec
from slipway.errors import invalid

_VECTORS: Final = frozenset({"embedding", "embeddings", "sentence_embedding", "last_hidden_state", "pooler_output"})


def interface_of(graph: Graph) -> Interface:
    """Return the interface of a graph, as completion describes it; raise INVALID_ARG for outputs that are strings."""
    config = model_config_pb2.ModelConfig(name="model")
    complete_from_graph(config, graph, config.name, MAX_BATCH_SIZE)
    inputs, outputs = (tuple(map(tensor_spec, part)) for part in (config.input, config.output))
    names = {spec.name for spec in outputs}
    words = [spec.name for spec in outputs if spec.datatype == "BYTES"]
    if words:
        raise invalid(f"output '{words[0]}' contains strings, but the gate can only compare numbers")
    batched = config.max_batch_size > 0
    pads = {spec.name: 0 for spec in inputs if -1 in spec.dims}
    maskable = batched and {IDS, MASK} <= pads.keys()
    return Interface(
        inputs,
        outputs,
        config.max_batch_size,
        pad_values=pads if maskable else {},
        trims=tuple(_trims(outputs)) if maskable else (),
        compares_labels=names == {"logits"},
        embeds=bool(names & _VECTORS),
        unbatched=graph.unbatched,
    )


def _trims(outputs: Sequence[TensorSpec]) -> Iterator[tuple[str, int, str, int]]:
    for spec in outputs:
        if spec.dims[:1] == (-1,):
            yield spec.name, 0, IDS, 0


def to_graph(arrays: Arrays, graph: Graph, interface: Interface) -> Arrays:
    """Return the arrays of a request in the shapes that the graph accepts."""
    inputs = {**graph.initializers, **graph.inputs}
    ranks = {name: len(tensor.dims) for name, tensor in inputs.items() if tensor.ranked}
    return {name: _with_rank(array, ranks.get(name, array.ndim), interface) for name, array in arrays.items()}


def to_request(answers: Mapping[str, np.ndarray], interface: Interface) -> Arrays:
    """Return the outputs of the graph in the shapes of a response."""
    first = int(interface.max_batch_size > 0)
    ranks = {spec.name: first + len(spec.dims) for spec in interface.outputs}
    return {name: _with_rank(np.asarray(array), ranks[name], interface) for name, array in answers.items()}


def rows_to_request(arrays: Mapping[str, np.ndarray], interface: Interface) -> Arrays:
    """Return arrays in the graph's shapes in the shapes of a request."""
    first = int(interface.max_batch_size > 0)
    ranks = {spec.name: first + len(spec.dims) for spec in interface.inputs}
    return {name: _with_rank(np.asarray(array), ranks[name], interface) for name, array in arrays.items()}


def _with_rank(array: np.ndarray, rank: int, interface: Interface) -> np.ndarray:
    """Return the array with one dim more, or less, as declared for a scalar or a tensor with only a batch axis."""
    first = int(interface.max_batch_size > 0)
    if array.ndim == rank or {array.ndim, rank} != {first, first + 1}:
        return array
    return array.reshape((*array.shape[:first], *([1] if rank > array.ndim else [])))
