"""The inputs and outputs of an ONNX graph, as an onnxruntime session reports them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from slipway.backends.shared.graph import Graph, GraphTensor
from slipway.errors import unsupported

# onnxruntime's names of element types -> config.pbtxt's. The protocol cannot carry any other type.
CONFIG_TYPES = {
    "bool": "TYPE_BOOL",
    "uint8": "TYPE_UINT8",
    "uint16": "TYPE_UINT16",
    "uint32": "TYPE_UINT32",
    "uint64": "TYPE_UINT64",
    "int8": "TYPE_INT8",
    "int16": "TYPE_INT16",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "float": "TYPE_FP32",
    "double": "TYPE_FP64",
    "string": "TYPE_STRING",
    "bfloat16": "TYPE_BF16",
}
_CONTAINERS = {"seq": "ONNX_TYPE_SEQUENCE", "map": "ONNX_TYPE_MAP", "sparse_tensor": "ONNX_TYPE_SPARSETENSOR"}


class _Session(Protocol):
    """The part of onnxruntime.InferenceSession that describes its graph."""

    def get_inputs(self) -> Sequence[Any]:
        """Return the inputs."""

    def get_outputs(self) -> Sequence[Any]:
        """Return the outputs."""

    def get_overridable_initializers(self) -> Sequence[Any]:
        """Return the initializers that are also inputs."""


def graph_of(session: _Session) -> Graph:
    """Return the inputs and outputs of the session's graph; raise UNSUPPORTED for anything but dense tensors."""
    return Graph(
        _by_name(session.get_inputs()),
        _by_name(session.get_outputs()),
        _by_name(session.get_overridable_initializers()),
    )


def _by_name(nodes: Sequence[Any]) -> dict[str, GraphTensor]:
    return {node.name: GraphTensor(node.name, _config_type(node), _dims(node.shape)) for node in nodes}


def _config_type(node: Any) -> str:
    kind, _, rest = node.type.partition("(")
    if kind != "tensor":
        onnx_type = _CONTAINERS.get(kind, "ONNX_TYPE_UNKNOWN")
        raise unsupported(f"Unsupported ONNX Type '{onnx_type}' for I/O '{node.name}', expected 'ONNX_TYPE_TENSOR'.")
    element = rest.removesuffix(")")
    if element not in CONFIG_TYPES:
        raise unsupported(f"unsupported ONNX element type '{element}' for I/O '{node.name}'")
    return CONFIG_TYPES[element]


def _dims(shape: Sequence[object] | None) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) else -1 for size in shape or ())
