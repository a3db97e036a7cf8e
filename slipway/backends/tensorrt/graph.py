"""The inputs, outputs and optimization profiles of a TensorRT engine, read through its tensor names.

Knows the library's enumerations only by name, so it works without importing the library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slipway.backends.shared.graph import Graph, GraphTensor
from slipway.backends.tensorrt.profiles import Profile, Range
from slipway.errors import unsupported

# TensorRT's names of element types -> config.pbtxt's. The protocol cannot carry the others (FP8, INT4).
CONFIG_TYPES = {
    "BOOL": "TYPE_BOOL",
    "UINT8": "TYPE_UINT8",
    "INT8": "TYPE_INT8",
    "INT32": "TYPE_INT32",
    "INT64": "TYPE_INT64",
    "HALF": "TYPE_FP16",
    "FLOAT": "TYPE_FP32",
    "BF16": "TYPE_BF16",
}


@dataclass(frozen=True, slots=True)
class EngineDescription:
    """The description of an engine. `host` names the inputs whose values are shapes; these stay in CPU memory."""

    graph: Graph
    profiles: tuple[Profile, ...]
    host: frozenset[str]


def describe(engine: Any) -> EngineDescription:
    """Return the description of a tensorrt.ICudaEngine; raise UNSUPPORTED for tensors that cannot be served."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name).name == "INPUT"]
    outputs = [name for name in names if name not in inputs]
    host = frozenset(name for name in names if engine.get_tensor_location(name).name == "HOST")
    profiles = tuple(
        {name: _range(engine, name, number) for name in inputs if name not in host}
        for number in range(engine.num_optimization_profiles)
    )
    graph = Graph(
        {name: _tensor(engine, name) for name in inputs}, {name: _tensor(engine, name) for name in outputs}, {}
    )
    return EngineDescription(graph, profiles, host)


def _tensor(engine: Any, name: str) -> GraphTensor:
    element = engine.get_tensor_dtype(name).name
    if element not in CONFIG_TYPES:
        raise unsupported(f"unsupported TensorRT element type '{element}' for I/O '{name}'")
    return GraphTensor(name, CONFIG_TYPES[element], tuple(engine.get_tensor_shape(name)))


def _range(engine: Any, name: str, number: int) -> Range:
    minimum, optimum, maximum = engine.get_tensor_profile_shape(name, number)
    return Range(tuple(minimum), tuple(optimum), tuple(maximum))
