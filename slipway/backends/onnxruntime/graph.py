"""The inputs and outputs of an ONNX graph, as an onnxruntime session reports them.

The session must be opened with the same graph optimisation as when the model is served: a symbolic dim of an output may
read as -1 before constants are folded and as a number afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from tritonclient.grpc import model_config_pb2

from slipway.backends.onnxruntime.options import metadata_options
from slipway.backends.onnxruntime.ranks import without_shape
from slipway.backends.onnxruntime.session import open_session
from slipway.backends.shared.graph import Graph, GraphTensor
from slipway.errors import Code, refused, unsupported
from slipway.problems import Problem, Rule

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
_ZIPMAP = (
    "export the classifier without ZipMap (skl2onnx, onnxmltools: options={'zipmap': False}), so that its "
    "probabilities are a tensor"
)
_CONTAINERS = {"seq": "ONNX_TYPE_SEQUENCE", "map": "ONNX_TYPE_MAP", "sparse_tensor": "ONNX_TYPE_SPARSETENSOR"}


class _Session(Protocol):
    """The part of onnxruntime.InferenceSession that describes its graph."""

    def get_inputs(self) -> Sequence[Any]:
        """Return the inputs."""

    def get_outputs(self) -> Sequence[Any]:
        """Return the outputs."""

    def get_overridable_initializers(self) -> Sequence[Any]:
        """Return the initializers that are also inputs."""


def graph_of(session: _Session, path: Path) -> Graph:
    """Return the inputs and outputs of the graph in `path`; raise UNSUPPORTED for anything but dense tensors."""
    try:
        inputs, outputs = session.get_inputs(), session.get_outputs()
        is_open = any(not node.shape for node in (*inputs, *outputs))
        unranked = without_shape(path) if is_open else frozenset()
        return Graph(
            _by_name(inputs, unranked),
            _by_name(outputs, unranked),
            _by_name(session.get_overridable_initializers(), frozenset()),
        )
    except UnicodeDecodeError as error:
        text = f"'{path.name}' has a tensor or a dimension whose name is not valid UTF-8: {error.object!r:.80}"
        raise refused(Problem(Rule.GRAPH_UNREADABLE, text, fix="export the model again")) from None


def open_described(
    name: str, path: Path, config: model_config_pb2.ModelConfig, version_directory: Path
) -> tuple[Any, Graph]:
    """Return a session of the file, opened only to read its graph, and the graph, the same that is served."""
    session = open_session(path, metadata_options(config, (version_directory, version_directory.parent)), name)
    return session, graph_of(session, path)


def _by_name(nodes: Sequence[Any], unranked: frozenset[str]) -> dict[str, GraphTensor]:
    return {node.name: _tensor(node, ranked=bool(node.shape) or node.name not in unranked) for node in nodes}


def _tensor(node: Any, *, ranked: bool) -> GraphTensor:
    shape = node.shape or ()
    symbols = tuple(size if isinstance(size, str) else "" for size in shape)
    return GraphTensor(node.name, _config_type(node), _dims(shape), ranked, symbols if any(symbols) else ())


def _config_type(node: Any) -> str:
    kind, _, rest = node.type.partition("(")
    if kind != "tensor":
        onnx_type = _CONTAINERS.get(kind, "ONNX_TYPE_UNKNOWN")
        text = f"Unsupported ONNX Type '{onnx_type}' for I/O '{node.name}', expected 'ONNX_TYPE_TENSOR'."
        fix = _ZIPMAP if "map(" in node.type else "export the model with only tensors as inputs and outputs"
        raise refused(Problem(Rule.GRAPH_UNREADABLE, text, fix=fix), code=Code.UNSUPPORTED)
    element = rest.removesuffix(")")
    if element not in CONFIG_TYPES:
        raise unsupported(f"unsupported ONNX element type '{element}' for I/O '{node.name}'")
    return CONFIG_TYPES[element]


def _dims(shape: Sequence[object]) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) else -1 for size in shape)
