"""Trace the reference to ONNX, with folded constants and a dynamic batch axis and variable dimensions."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Final

from slipway.convert.module.io_config import ModelIo
from slipway.convert.module.reference import ReferenceModule, example
from slipway.convert.onnx_file import trace
from slipway.convert.tensors import IoTensor
from slipway.errors import invalid

_BATCH: Final = "batch_size"


def export_onnx(reference: ReferenceModule, io: ModelIo, path: Path, *, rows: int, length: int) -> None:
    """Export to `path`; raise INVALID_ARG with PyTorch's reason if the model cannot be traced."""
    import torch

    tensors = (*io.inputs, *io.outputs)
    arguments = reference.tensors(example(io.inputs, rows=rows, length=length, limit=reference.limit))
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # from the tracer; the comparison will find its mistakes
            trace(
                reference.network,
                arguments,
                path,
                inputs=[tensor.name for tensor in io.inputs],
                outputs=[tensor.name for tensor in io.outputs],
                axes={tensor.name: _axes(tensor) for tensor in tensors},
            )
    except Exception as error:  # from torch's tracer, its exporter or the user's code
        text = " ".join(str(error).split())
        raise invalid(f"torch.onnx.export failed with {type(error).__name__}: {text[:400]}") from error
    if any(other != path for other in path.parent.iterdir()):
        raise invalid("the model is larger than 2 GiB, the limit of a single ONNX file; try `slipway convert`")
    _declare_outputs(path, io)


def _axes(tensor: IoTensor) -> dict[int, str]:
    variable = {axis: f"{tensor.name}_{axis}" for axis, size in enumerate(tensor.shape, 1) if size < 0}
    return {0: _BATCH, **variable}


def _declare_outputs(path: Path, io: ModelIo) -> None:
    """Write the declared sizes of outputs into the graph where the exporter left them dynamic.

    The onnxruntime backends of Triton and Slipway only load a model if config and graph agree on its outputs.
    """
    import onnx

    model = onnx.load(path)
    changed = [_declare(output, tensor) for output, tensor in zip(model.graph.output, io.outputs, strict=True)]
    if any(changed):
        onnx.save(model, path)


def _declare(output: Any, tensor: IoTensor) -> bool:
    wanted: list[int | str] = [_BATCH, *tensor.shape]
    shape = output.type.tensor_type.shape
    found = [size.dim_value or size.dim_param for size in shape.dim]
    if len(found) == len(wanted) and all(want in (-1, size) for want, size in zip(wanted, found, strict=True)):
        return False
    del shape.dim[:]
    for axis, size in enumerate(wanted):
        if isinstance(size, int) and size > 0:
            shape.dim.add(dim_value=size)
        else:
            shape.dim.add(dim_param=_BATCH if axis == 0 else f"{tensor.name}_{axis}")
    return True
