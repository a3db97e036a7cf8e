"""A config held against the model file itself, by the backend's own checks.

The weights are read as far as the backend's library must to tell names, types and shapes; nothing is computed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
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
from slipway.lint.document import Named, Value
from slipway.lint.finding import Edit, Finding
from slipway.lint.model import Model
from slipway.lint.reading import DEFAULT_MAX_BATCH_SIZE
from slipway.lint.texts import find_problem

_ABOUT: Final = re.compile(r"(?:for (?P<kind>input|output)|, tensor) '(?P<name>[^']*)'")
_UNKNOWN: Final = ("config-invalid", "platform-backend")


def graph_findings(model: Model) -> Iterator[Finding]:
    """Yield how the config and the model file of the newest served version disagree."""
    directory = model.version_directory
    if directory is None:
        return
    try:
        if model.config.backend == "pytorch":
            _check_torch(model, directory)
        elif model.config.backend in _GRAPHS:
            graph = _GRAPHS[model.config.backend](model, directory)
            yield from _disagreements(model, graph)
    except SlipwayError as error:
        if error.code is not Code.UNAVAILABLE:  # else the library is not installed: a finding of its own
            yield from (_finding(model, directory, text) for text in error.message.split("\n"))


def _disagreements(model: Model, graph: Graph) -> Iterator[Finding]:
    try:
        check_config(model.config, graph)
    except SlipwayError as error:
        for text in error.message.split("\n"):
            yield _with_graphs_word(find_problem(model, text), model, graph)


def _with_graphs_word(finding: Finding, model: Model, graph: Graph) -> Finding:
    """Return the finding with the fix that only the graph can tell, and with its edit where the field is written."""
    if finding.rule == "input-count":
        return replace(finding, fix=_count_fix(model, graph))
    found = _ABOUT.search(finding.message)
    if found is None or finding.rule not in ("datatype-not-graph", "dims-not-graph"):
        return finding
    is_input = found["kind"] == "input" or any(each.name == found["name"] for each in model.config.input)
    kind = "input" if is_input and found["kind"] != "output" else "output"
    tensor = {**graph.initializers, **(graph.inputs if kind == "input" else graph.outputs)}[found["name"]]
    field, text = "data_type", tensor.config_type
    if finding.rule == "dims-not-graph":
        field, text = "dims", _dims_text(model, kind, tensor)
    if not text:
        return finding
    part = model.document.find((kind, Named(tensor.name)))
    entries = [entry for entry in part.entries if entry.name == field] if isinstance(part, Value) else []
    edits = (Edit(entries[0].start, entries[0].end, f"{field}: {text}"),) if len(entries) == 1 else ()
    return replace(finding, fix=f"write {field}: {text}", edits=edits)


def _dims_text(model: Model, kind: str, tensor: GraphTensor) -> str:
    """Return the dims that the graph has, "" where it takes more than dims to say the same."""
    declared = next(each for each in getattr(model.config, kind) if each.name == tensor.name)
    has_batches = model.config.max_batch_size > 0
    dims = tensor.dims[1:] if has_batches else tensor.dims
    if declared.HasField("reshape") or not dims or (has_batches and tensor.dims[0] != -1):
        return ""
    return f"[ {', '.join(map(str, dims))} ]"


def _count_fix(model: Model, graph: Graph) -> str:
    declared = {tensor.name for tensor in model.config.input}
    missing = [tensor for name, tensor in graph.inputs.items() if name not in declared]
    if not missing:
        return "remove the inputs that the model does not take"
    return "declare " + ", ".join(f"{tensor.name} ({tensor.config_type})" for tensor in missing)


def _finding(model: Model, directory: Path, text: str) -> Finding:
    finding = find_problem(model, text)
    if finding.rule not in _UNKNOWN:
        return finding
    file = directory / model.config.default_model_filename
    return model.finding_of_file("graph-unreadable", text, file, fix="export or copy the model again")


def _onnx_graph(model: Model, directory: Path) -> Graph:
    path = directory / model.config.default_model_filename
    path = path / "model.onnx" if path.is_dir() else path
    options = metadata_options(model.config, (directory, model.directory))
    return graph_of(open_session(path, options, model.name))


def _check_torch(model: Model, directory: Path) -> None:
    """Match the declared names with forward()'s arguments; types and shapes a torch module does not tell."""
    config = model_config_pb2.ModelConfig()
    config.CopyFrom(model.config)
    for output in config.output:
        output.ClearField("label_filename")  # a missing one is a finding of its own
    if not config.input or not config.output:
        return
    forward = open_module(directory / config.default_model_filename, model.name)
    signature = build_signature(config, model.directory)
    TorchModule(forward, signature, inference_mode=True, optimized=True)


def _completed_graph(model: Model, directory: Path) -> Graph:
    """Let the backend complete what is left out: with the inputs left out it tells the graph's, and likewise outputs.

    The other half stays, since the backend may give the graph the shapes that it declares.
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
            del tensors[spare.pop()]  # which of the graph's tensors it names only a load can tell
            tensors[declared.name] = GraphTensor(declared.name, _type_name(declared), shape)
    return tensors


def _is_alias(model: Model, directory: Path, name: str) -> bool:
    """Return whether an OpenVINO file gives the name to one of its tensors, which may have several."""
    text = (directory / model.config.default_model_filename).read_text(encoding="utf-8", errors="replace")
    return any(name in match[1].split(",") for match in re.finditer(r'\bnames="([^"]*)"', text))


def _tensors(declared: Iterable[Any], axis: tuple[int, ...]) -> dict[str, GraphTensor]:
    """Return completed tensors with their batch axis, as `check_config` wants them."""
    return {each.name: GraphTensor(each.name, _type_name(each), (*axis, *_dims(each))) for each in declared}


def _type_name(declared: Any) -> str:
    return str(model_config_pb2.DataType.Name(declared.data_type))


def _dims(declared: Any) -> tuple[int, ...]:
    return tuple(declared.reshape.shape if declared.HasField("reshape") else declared.dims)


_GRAPHS: Final[dict[str, Callable[[Model, Path], Graph]]] = {
    "onnxruntime": _onnx_graph,
    "openvino": _completed_graph,
}
