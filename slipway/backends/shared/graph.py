"""The inputs and outputs of a model's graph, in a form that does not depend on the library that reads it.

Values only: read once from a file, then compared with a configuration (graph_check.py) or written into one
(graph_complete.py). Knows no library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from tritonclient.grpc import model_config_pb2

# The fix for a configuration that asks for batches of a graph whose first axis is fixed.
VARIABLE_AXIS: Final = (
    "export the model with a variable first axis (dynamic_axes), or set max_batch_size: 0 and write the whole shape "
    "into dims"
)


# And about a model whose variable first axis is not the batch axis.
WHOLE_SHAPES: Final = "set max_batch_size: 0 and write the whole shape into dims"


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """One input or output of a graph. `dims` include the batch dimension; -1 is variable; () is a scalar, or, if not
    `ranked`, a tensor whose number of dims the graph does not specify.

    `symbols` are the names of variable dims in the graph, "" for dims without a name; empty if none has one.
    """

    name: str
    config_type: str
    dims: tuple[int, ...]
    ranked: bool = True
    symbols: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Graph:
    """All inputs and outputs, by name. `initializers` are weights that a request may override. `unbatched` is why rows
    of several requests may not share a batch although the first dims are variable, "" if nothing prevents it."""

    inputs: Mapping[str, GraphTensor]
    outputs: Mapping[str, GraphTensor]
    initializers: Mapping[str, GraphTensor]
    unbatched: str = ""

    @property
    def can_batch(self) -> bool:
        """Whether every input and output has a variable first dimension that is the batch axis."""
        tensors = (*self.inputs.values(), *self.outputs.values())
        return not self.unbatched and all(tensor.dims[:1] == (-1,) for tensor in tensors)


def scalar_outputs(config: model_config_pb2.ModelConfig, graph: Graph) -> dict[str, tuple[int, ...]]:
    """Return the declared dims of each output that the graph returns as a scalar or with an unknown shape."""
    return {
        declared.name: tuple(declared.reshape.shape if declared.HasField("reshape") else declared.dims)
        for declared in config.output
        if declared.name in graph.outputs and not graph.outputs[declared.name].dims
    }


def as_scalar(array: np.ndarray) -> np.ndarray:
    """Return an array of one element as the scalar that a graph expects; return any other array as it is."""
    return array.reshape(()) if array.size == 1 else array


def as_declared(dims: tuple[int, ...], array: np.ndarray) -> np.ndarray:
    """Return a scalar with as many dims as declared; return any other array (a graph of unknown rank) as it is."""
    return np.asarray(array).reshape((1,) * len(dims)) if np.ndim(array) == 0 else array
