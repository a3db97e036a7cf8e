"""Check a config against the model file itself, with the backend's own checks.

Weights are read only as far as the backend's library needs for names, types and shapes; nothing is computed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from tritonclient.grpc import model_config_pb2

from slipway.backends.api import CompletionContext
from slipway.backends.onnxruntime.graph import graph_of
from slipway.backends.onnxruntime.options import metadata_options
from slipway.backends.onnxruntime.session import open_session
from slipway.backends.pytorch.module import TorchModule, open_module
from slipway.backends.registry import find_backend
from slipway.backends.shared.graph import Graph, GraphTensor
from slipway.backends.shared.graph_check import check_config
from slipway.config.signature import build_signature
from slipway.errors import Code, SlipwayError
from slipway.lint.finding import Finding
from slipway.lint.model import Model
from slipway.lint.reading import DEFAULT_MAX_BATCH_SIZE, refusal_findings


def graph_findings(model: Model) -> Iterator[Finding]:
    """Yield where the config and the model file of the newest served version disagree."""
    directory = model.version_directory
    if directory is None:
        return
    try:
        if model.config.backend == "pytorch":
            _check_torch(model, directory)
        elif model.config.backend in _GRAPHS:
            check_config(model.config, _GRAPHS[model.config.backend](model, directory))
    except SlipwayError as error:
        if error.code is not Code.UNAVAILABLE:  # otherwise the library is not installed, which has its own finding
            yield from refusal_findings(model, error)


def _onnx_graph(model: Model, directory: Path) -> Graph:
    path = directory / model.config.default_model_filename
    path = path / "model.onnx" if path.is_dir() else path
    options = metadata_options(model.config, (directory, model.directory))
    return graph_of(open_session(path, options, model.name))


def _check_torch(model: Model, directory: Path) -> None:
    """Match the declared names with forward()'s arguments; a torch module does not state types and shapes."""
    config = model_config_pb2.ModelConfig()
    config.CopyFrom(model.config)
    for output in config.output:
        output.ClearField("label_filename")  # a missing file has its own finding
    if not config.input or not config.output:
        return
    forward = open_module(directory / config.default_model_filename, model.name)
    signature = build_signature(config, model.directory)
    TorchModule(forward, signature, inference_mode=True, optimized=True)


def _completed_graph(model: Model, directory: Path) -> Graph:
    """Read the graph through the backend's completion, which fills in omitted inputs, and likewise omitted outputs.

    The other half stays, because the backend may give the graph the shapes that it declares.
    """
    return Graph(_completed(model, directory, "input"), _completed(model, directory, "output"), {})


def _completed(model: Model, directory: Path, field: str) -> dict[str, GraphTensor]:
    config = model_config_pb2.ModelConfig()
    config.CopyFrom(model.config)
    config.ClearField(field)
    context = CompletionContext(model.directory, directory, DEFAULT_MAX_BATCH_SIZE)
    find_backend(config.backend).complete(config, context)
    axis = (-1,) if config.max_batch_size > 0 else ()
    tensors = _tensors(getattr(config, field), axis)
    names = {declared.name for declared in getattr(model.config, field)}
    spare = [name for name in tensors if name not in names]
    for declared in getattr(model.config, field):
        if spare and declared.name not in tensors and _is_alias(model, directory, declared.name):
            shape = (*axis, *_dims(declared))
            del tensors[spare.pop()]  # only a load shows which of the graph's tensors it names
            tensors[declared.name] = GraphTensor(declared.name, _type_name(declared), shape)
    return tensors


def _is_alias(model: Model, directory: Path, name: str) -> bool:
    """Return whether `name` is the name of a tensor in the OpenVINO file; a tensor may have several names."""
    text = (directory / model.config.default_model_filename).read_text(encoding="utf-8", errors="replace")
    return any(name in match[1].split(",") for match in re.finditer(r'\bnames="([^"]*)"', text))


def _tensors(declared: Iterable[Any], axis: tuple[int, ...]) -> dict[str, GraphTensor]:
    """Return completed tensors with their batch axis, as `check_config` expects them."""
    return {each.name: GraphTensor(each.name, _type_name(each), (*axis, *_dims(each))) for each in declared}


def _type_name(declared: Any) -> str:
    return str(model_config_pb2.DataType.Name(declared.data_type))


def _dims(declared: Any) -> tuple[int, ...]:
    return tuple(declared.reshape.shape if declared.HasField("reshape") else declared.dims)


_GRAPHS: Final[dict[str, Callable[[Model, Path], Graph]]] = {
    "onnxruntime": _onnx_graph,
    "openvino": _completed_graph,
}
