"""Read the inputs and outputs of a torch.export file, with the shapes and types that it was exported with.

TorchScript keeps only names. torch is imported when a file is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from slipway.backends.pytorch.archive import TorchFile, kind_of, refuse_pickles
from slipway.backends.pytorch.library import load_program
from slipway.backends.pytorch.module import cause_of_torch, open_module
from slipway.backends.shared.graph import Graph, GraphTensor
from slipway.errors import invalid

_TYPES: Final = {
    "torch.bool": "TYPE_BOOL",
    "torch.uint8": "TYPE_UINT8",
    "torch.int8": "TYPE_INT8",
    "torch.int16": "TYPE_INT16",
    "torch.int32": "TYPE_INT32",
    "torch.int64": "TYPE_INT64",
    "torch.float16": "TYPE_FP16",
    "torch.bfloat16": "TYPE_BF16",
    "torch.float32": "TYPE_FP32",
    "torch.float64": "TYPE_FP64",
}


def exported_graph(path: Path, name: str) -> Graph:
    """Return the tensors of a torch.export file; raise INVALID_ARG for TorchScript, which lacks types."""
    if kind_of(path, name) is TorchFile.TORCHSCRIPT:
        arguments = open_module(path, name).arguments
        raise invalid(
            f"'{path.name}' is TorchScript, which keeps the names of its inputs ({', '.join(arguments) or 'a dict'}), "
            f"but not their datatypes and shapes: export the module with torch.export instead, or write config.pbtxt "
            f"by hand and compare it with the file by running slipway check"
        )
    refuse_pickles(path, name)
    arguments = open_module(path, name).arguments
    try:
        program = load_program(path)
    except Exception as error:  # torch's readers raise exceptions of any type
        raise invalid(f"cannot read '{path.name}': {cause_of_torch(error)}") from error
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    inputs = [values[each] for each in program.graph_signature.user_inputs]
    outputs = [values.get(each) for each in _outputs(program)]
    return Graph(_tensors(path, arguments, inputs), _tensors(path, _result_names(program, len(outputs)), outputs), {})


def _outputs(program: Any) -> Sequence[str]:
    return [str(each) for each in program.graph_signature.user_outputs]


def _result_names(program: Any, count: int) -> list[str]:
    """Return the keys of a dict that forward() returns, else the positional names that the backend expects."""
    spec = program.call_spec.out_spec
    results = spec.unflatten(range(spec.num_leaves)) if spec is not None else None
    return list(results) if isinstance(results, dict) else [f"OUTPUT__{index}" for index in range(count)]


def _tensors(path: Path, names: Iterable[str], values: Sequence[Any]) -> dict[str, GraphTensor]:
    tensors = {}
    for name, value in zip(names, values, strict=True):
        config_type = _TYPES.get(str(getattr(value, "dtype", None)))
        if config_type is None:
            raise invalid(f"'{name}' of '{path.name}' is not a tensor that the protocol can carry")
        dims = tuple(size if isinstance(size, int) else -1 for size in value.shape)
        symbols = tuple("" if isinstance(size, int) else str(size) for size in value.shape)
        tensors[name] = GraphTensor(name, config_type, dims, symbols=symbols if any(symbols) else ())
    return tensors
