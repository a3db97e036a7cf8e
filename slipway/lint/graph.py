"""Check a config against the model file itself, with the backend's own checks.

Weights are read only as far as the backend's library needs for names, types and shapes; nothing is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

from tritonclient.grpc import model_config_pb2

from slipway.backends.pytorch.module import TorchModule, open_module
from slipway.backends.registry import find_backend
from slipway.backends.shared.graph import Graph
from slipway.backends.shared.graph_check import check_config
from slipway.config.signature import build_signature
from slipway.errors import Code, SlipwayError
from slipway.lint.finding import Finding
from slipway.lint.model import Model
from slipway.lint.reading import refusal_findings


@runtime_checkable
class DescribesGraph(Protocol):
    """A backend that reads the graph of a model file exactly as its load checks configurations against it."""

    def describe(self, name: str, version_directory: Path, config: model_config_pb2.ModelConfig) -> Graph:
        """Return the graph; raise `SlipwayError` if it cannot be read or given the shapes of `config`."""


def graph_findings(model: Model) -> Iterator[Finding]:
    """Yield where the config and the model file of the newest served version disagree."""
    directory = model.version_directory
    if directory is None:
        return
    try:
        if model.config.backend == "pytorch":
            _check_torch(model, directory)
            return
        backend = find_backend(model.config.backend)
        if isinstance(backend, DescribesGraph):
            check_config(model.config, backend.describe(model.name, directory, model.config))
    except SlipwayError as error:
        if error.code is not Code.UNAVAILABLE:  # otherwise the library is not installed, which has its own finding
            yield from refusal_findings(model, error)


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
