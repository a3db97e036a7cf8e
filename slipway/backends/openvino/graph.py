"""The inputs and outputs of an OpenVINO model.

A tensor may have several names; it goes by the one that the configuration uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tritonclient.grpc import model_config_pb2

from slipway.backends.shared.graph import Graph, GraphTensor
from slipway.config.ragged import batch_input_names
from slipway.config.sequences import declared_inputs, declared_outputs
from slipway.errors import unsupported

# OpenVINO's names of element types -> config.pbtxt's. The protocol cannot carry any other type. Strings are left out:
# OpenVINO's CPU device computes nothing with them, and its Python module frees the memory of some twice (2026.4).
CONFIG_TYPES = {
    "boolean": "TYPE_BOOL",
    "u8": "TYPE_UINT8",
    "u16": "TYPE_UINT16",
    "u32": "TYPE_UINT32",
    "u64": "TYPE_UINT64",
    "i8": "TYPE_INT8",
    "i16": "TYPE_INT16",
    "i32": "TYPE_INT32",
    "i64": "TYPE_INT64",
    "f16": "TYPE_FP16",
    "f32": "TYPE_FP32",
    "f64": "TYPE_FP64",
    "bf16": "TYPE_BF16",
}


def graph_of(model: Any, config: model_config_pb2.ModelConfig) -> Graph:
    """Return inputs and outputs of the openvino.Model; raise UNSUPPORTED for element types that cannot be served."""
    inputs = _describe(model.inputs, input_names(config))
    outputs = _describe(model.outputs, output_names(config))
    return Graph({tensor.name: tensor for tensor in inputs}, {tensor.name: tensor for tensor in outputs}, {})


def input_names(config: model_config_pb2.ModelConfig) -> set[str]:
    """Return the names of the inputs that requests have, and of those that the server adds to a sequence or a batch."""
    return {*(declared.name for declared in declared_inputs(config)), *batch_input_names(config)}


def output_names(config: model_config_pb2.ModelConfig) -> set[str]:
    """Return the names of the outputs that responses have, and of the states that the server keeps."""
    return {declared.name for declared in declared_outputs(config)}


def _describe(ports: Sequence[Any], declared: set[str]) -> list[GraphTensor]:
    tensors = []
    for port in ports:
        name = port_name(port, declared)
        ranked = not port.get_partial_shape().rank.is_dynamic
        tensors.append(GraphTensor(name, _config_type(port, name), port_dims(port), ranked))
    return tensors


def port_name(port: Any, declared: set[str]) -> str:
    """Return the name of an input or output: the one in `declared`, else its first, else the name of its node."""
    names: set[str] = port.get_names()
    return min(names & declared or names) if names else str(port.get_node().get_friendly_name())


def port_dims(port: Any) -> tuple[int, ...]:
    """Return the shape of an input or output, -1 where it is variable, () for a scalar or an unknown rank."""
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        return ()
    return tuple(-1 if size.is_dynamic else size.get_length() for size in shape)


def _config_type(port: Any, name: str) -> str:
    element = port.get_element_type().get_type_name()
    if element not in CONFIG_TYPES:
        hint = "; for string inputs or outputs, use the backend onnxruntime" if element == "string" else ""
        raise unsupported(f"unsupported OpenVINO element type '{element}' for I/O '{name}'{hint}")
    return CONFIG_TYPES[element]
