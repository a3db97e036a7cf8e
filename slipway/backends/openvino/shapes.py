"""Give a graph the shapes that its configuration asks for, before it is checked and compiled.

As in Triton's OpenVINO backend, a batch may have any size unless SKIP_OV_DYNAMIC_BATCHSIZE keeps the graph's own, and
RESHAPE_IO_LAYERS replaces the graph's input shapes with the declared ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tritonclient.grpc import model_config_pb2

from slipway.backends.openvino.graph import input_names, port_dims, port_name
from slipway.backends.openvino.library import reason_of
from slipway.backends.openvino.options import Shaping
from slipway.backends.shared.graph import Graph, GraphTensor
from slipway.config.ragged import has_ragged_batches
from slipway.errors import invalid
from slipway.openvino_library import import_openvino

Shapes = dict[str, tuple[int, ...]]


def apply_shapes(model: Any, config: model_config_pb2.ModelConfig, shaping: Shaping, model_name: str) -> None:
    """Reshape the openvino.Model in place as configured; raise INVALID_ARG when the graph cannot have the shapes."""
    declared = input_names(config)
    present = {port_name(port, declared): port_dims(port) for port in model.inputs}
    wanted = wanted_shapes(present, config, shaping)
    if wanted == present:
        return
    openvino = import_openvino()
    ports = {port_name(port, declared): port for port in model.inputs}
    try:
        model.reshape({ports[name]: openvino.PartialShape(list(dims)) for name, dims in wanted.items() if dims})
    except Exception as error:  # the library raises RuntimeError, and its own subclasses of Exception
        given = ", ".join(f"'{name}' {list(dims)}" for name, dims in sorted(wanted.items()))
        raise invalid(
            f"unable to load model '{model_name}', the graph cannot be reshaped to the input shapes {given}: "
            f"{reason_of(error)}; set max_batch_size to 0 or the parameter SKIP_OV_DYNAMIC_BATCHSIZE to YES"
        ) from error


def wanted_shapes(present: Shapes, config: model_config_pb2.ModelConfig, shaping: Shaping) -> Shapes:
    """Return the shape that each input will have; pure."""
    wanted = dict(present)
    batched = config.max_batch_size > 0
    for each in config.input if shaping.reshape_layers else ():
        if each.name in wanted and not each.allow_ragged_batch:
            dims = tuple(each.reshape.shape if each.HasField("reshape") else each.dims)
            wanted[each.name] = (wanted[each.name][:1] or (-1,)) + dims if batched else dims
    if batched and not shaping.fixed_batch:
        wanted = {name: (-1, *dims[1:]) if dims else dims for name, dims in wanted.items()}
    return wanted


def fixed_rows(graph: Graph, config: model_config_pb2.ModelConfig, shaping: Shaping) -> int:
    """Return the only batch size that the graph accepts, 0 if it accepts any; ragged inputs have no such size."""
    if not shaping.fixed_batch or config.max_batch_size == 0 or has_ragged_batches(config):
        return 0
    sizes = {tensor.dims[0] for tensor in graph.inputs.values() if tensor.dims}
    return config.max_batch_size if sizes == {config.max_batch_size} else 0


def without_fixed_rows(graph: Graph, rows: int) -> Graph:
    """Return the graph as a configuration describes it: a first dimension of exactly `rows` is the batch dimension."""

    def freed(tensor: GraphTensor) -> GraphTensor:
        return replace(tensor, dims=(-1, *tensor.dims[1:])) if rows and tensor.dims[:1] == (rows,) else tensor

    return Graph(
        {name: freed(tensor) for name, tensor in graph.inputs.items()},
        {name: freed(tensor) for name, tensor in graph.outputs.items()},
        graph.initializers,
    )
