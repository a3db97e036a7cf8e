"""What the graph of a model takes and gives, whichever library reads it.

Values only: read once from a file, then compared with (graph_check.py) or written into (graph_complete.py) a
configuration. Knows no library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from tritonclient.grpc import model_config_pb2

# What to do about a graph whose first axis is fixed and a configuration that asks for batches.
VARIABLE_AXIS: Final = (
    "export the model with a variable first axis (dynamic_axes), or set max_batch_size: 0 and write the whole shape "
    "into dims"
)


# And about one whose variable first axis does not stand for rows.
WHOLE_SHAPES: Final = "set max_batch_size: 0 and write the whole shape into dims"


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """One input or output of a graph. `dims` include the batch dimension; -1 is variable; () a scalar, or, where it is
    not `ranked`, a tensor of which the graph does not even say how many dimensions it has.

    `symbols` are the names that the graph gives to variable dims, "" for those without; empty where it names none.
    """

    name: str
    config_type: str
    dims: tuple[int, ...]
    ranked: bool = True
    symbols: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Graph:
    """All of them, by name. `initializers` are weights a request may override. `unbatched` says why the rows of several
    requests may not share a batch although the first dims are variable, "" where nothing is against it."""

    inputs: Mapping[str, GraphTensor]
    outputs: Mapping[str, GraphTensor]
    initializers: Mapping[str, GraphTensor]
    unbatched: str = ""

    @property
    def can_batch(self) -> bool:
        """Whether every input and output has a variable first dimension that stands for the rows."""
        tensors = (*self.inputs.values(), *self.outputs.values())
        return not self.unbatched and all(tensor.dims[:1] == (-1,) for tensor in tensors)


def scalar_outputs(config: model_config_pb2.ModelConfig, graph: Graph) -> dict[str, tuple[int, ...]]:
    """Return the declared dims of each output that the graph gives as a scalar, or without saying its shape."""
    return {
        declared.name: tuple(declared.reshape.shape if declared.HasField("reshape") else declared.dims)
        for declared in config.output
        if declared.name in graph.outputs and not graph.outputs[declared.name].dims
    }


def as_scalar(array: np.ndarray) -> np.ndarray:
    """Return an array of one element as the scalar a graph wants; what is none as it is."""
    return array.reshape(()) if array.size == 1 else array


def as_declared(dims: tuple[int, ...], array: np.ndarray) -> np.ndarray:
    """Return a scalar under as many dims as are declared; what is none (a graph of unknown rank) as it is."""
    return np.asarray(array).reshape((1,) * len(dims)) if np.ndim(array) == 0 else array
