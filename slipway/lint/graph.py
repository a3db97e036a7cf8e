"""A config held against the model file itself, by the backend's own checks.

The weights are read as far as the backend's library must to tell names, types and shapes; nothing is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.backends.api import CompletionContext
from slipway.backends.onnxruntime.check import check_config
from slipway.backends.onnxruntime.graph import Graph, GraphTensor, graph_of
from slipway.backends.onnxruntime.options import metadata_options
from slipway.backends.onnxruntime.session import open_session
from slipway.backends.pytorch.module import TorchModule, open_module
from slipway.backends.registry import find_backend
from slipway.config.signature import build_signature
from slipway.errors import Code, SlipwayError
from slipway.lint.finding import Finding
from slipway.lint.model import Model
from slipway.lint.reading import DEFAULT_MAX_BATCH_SIZE
from slipway.lint.texts import find_problem

_UNKNOWN: Final = ("config-invalid", "platform-backend")


def graph_findings(model: Model) -> Iterator[Finding]:
    """Yield how the config and the model file of the newest served version disagree."""
    check = _CHECKS.get(model.config.backend)
    directory = model.version_directory
    if check is None or directory is None:
        return
    try:
        check(model, directory)
    except SlipwayError as error:
        if error.code is Code.UNAVAILABLE:  # the library is not installed: a finding of its own
            return
        for text in error.message.split("\n"):
            yield _finding(model, directory, text)


def _finding(model: Model, directory: Path, text: str) -> Finding:
    finding = find_problem(model, text)
    if finding.rule not in _UNKNOWN:
        return finding
    file = directory / model.config.default_model_filename
    return model.finding_of_file("graph-unreadable", text, file, fix="export or copy the model again")


def _check_onnx(model: Model, directory: Path) -> None:
    path = directory / model.config.default_model_filename
    path = path / "model.onnx" if path.is_dir() else path
    options = metadata_options(model.config, (directory, model.directory))
    check_config(model.config, graph_of(open_session(path, options, model.name)))


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


def _check_by_completion(model: Model, directory: Path) -> None:
    """Let the backend complete an empty config, and hold the declared one against what it found."""
    config = model.config
    blank = model_config_pb2.ModelConfig(
        name=config.name,
        backend=config.backend,
        platform=config.platform,
        default_model_filename=config.default_model_filename,
    )
    context = CompletionContext(model.directory, directory, DEFAULT_MAX_BATCH_SIZE)
    find_backend(config.backend).complete(blank, context)
    if blank.input and blank.output:
        check_config(config, _graph(blank))


def _graph(config: model_config_pb2.ModelConfig) -> Graph:
    """Return the tensors of a completed config with their batch axis, as `check_config` wants them."""
    axis = (-1,) if config.max_batch_size > 0 else ()

    def tensors(
        declared: Iterator[model_config_pb2.ModelInput | model_config_pb2.ModelOutput],
    ) -> dict[str, GraphTensor]:
        return {
            each.name: GraphTensor(each.name, model_config_pb2.DataType.Name(each.data_type), (*axis, *_dims(each)))
            for each in declared
        }

    return Graph(tensors(config.input), tensors(config.output), {})


def _dims(declared: model_config_pb2.ModelInput | model_config_pb2.ModelOutput) -> tuple[int, ...]:
    return tuple(declared.reshape.shape if declared.HasField("reshape") else declared.dims)


_CHECKS: Final[dict[str, Callable[[Model, Path], None]]] = {
    "onnxruntime": _check_onnx,
    "openvino": _check_by_completion,
    "pytorch": _check_torch,
}
