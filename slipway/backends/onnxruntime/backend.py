"""The backend `onnxruntime`: completes, loads and opens ONNX models.

All instances of a version share one session, and with it one copy of the weights.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final

from tritonclient.grpc import model_config_pb2

from slipway.backends.api import CompletionContext, LoadedModel, ModelContext
from slipway.backends.onnxruntime.accelerator import accelerator_words, load_accelerated
from slipway.backends.onnxruntime.graph import graph_of, open_described
from slipway.backends.onnxruntime.options import gpu_words, run_options, session_options
from slipway.backends.onnxruntime.session import GraphRunner, open_session
from slipway.backends.shared.files import model_file
from slipway.backends.shared.graph import Graph
from slipway.backends.shared.graph_check import check_config
from slipway.backends.shared.graph_complete import complete_unless_given
from slipway.backends.shared.ignored import log_ignored
from slipway.backends.shared.probing import settled
from slipway.backends.shared.stacked import StackedModel
from slipway.config.ragged import has_ragged_batches
from slipway.problems import Problem

_LOG: Final = logging.getLogger("slipway.onnxruntime")
_DEFAULT_FILE = "model.onnx"


class OnnxRuntimeBackend:
    """Runs ONNX graphs on the CPU."""

    def complete(self, config: model_config_pb2.ModelConfig, context: CompletionContext) -> None:
        """Fill inputs, outputs and batching from the graph, unless inputs and outputs are both given."""

        def read(name: str, version_directory: Path) -> Graph:
            return self.explore(name, version_directory, config)

        complete_unless_given(config, context, read)

    def explore(self, name: str, version_directory: Path, config: model_config_pb2.ModelConfig) -> Graph:
        """Return the graph with the parts that its description leaves open, found by running it; but not with ragged
        inputs, whose rows are not those of requests."""
        session, graph = _open(name, version_directory, config)
        if has_ragged_batches(config):
            return graph
        return settled(graph, GraphRunner(session, graph, config).run)

    def describe(self, name: str, version_directory: Path, config: model_config_pb2.ModelConfig) -> Graph:
        """Return the graph that a load checks the configuration against."""
        return _open(name, version_directory, config)[1]

    def check(self, context: ModelContext) -> list[Problem]:
        """Check the configuration as a load does; return the settings that have no effect."""
        session_options(context)
        run_options(context.config)
        check_config(context.config, self.describe(context.name, context.version_directory, context.config))
        return [*gpu_words(context.config), *accelerator_words(context.config)]

    def load(self, context: ModelContext) -> LoadedModel:
        """Open the session, or the accelerator's equivalent, and check the configuration against its graph."""
        path = _graph_file(context.name, context.version_directory, context.config)
        log_ignored(_LOG, context.name, [*gpu_words(context.config), *accelerator_words(context.config)])
        accelerated = load_accelerated(context, path)
        if accelerated is not None:
            return accelerated
        session = open_session(path, session_options(context), context.name)
        graph = graph_of(session, path)
        check_config(context.config, graph)
        runner = GraphRunner(session, graph, context.config, run_options(context.config))
        return LoadedOnnxModel(context, runner)


class LoadedOnnxModel(StackedModel):
    """One loaded version: all instances use its session, whose threads are as many for any number of them."""

    keeps_loaded = True

    def __init__(self, context: ModelContext, runner: GraphRunner) -> None:
        super().__init__(context, lambda _: runner.run)


def _open(name: str, version_directory: Path, config: model_config_pb2.ModelConfig) -> tuple[Any, Graph]:
    """Return a session opened only to read its graph, and the graph, the same that is served."""
    path = _graph_file(name, version_directory, config)
    return open_described(name, path, config, version_directory)


def _graph_file(name: str, version_directory: Path, config: model_config_pb2.ModelConfig) -> Path:
    """Return the graph's path; a directory of that name holds the graph and its external data."""
    path = model_file(name, version_directory, config.default_model_filename or _DEFAULT_FILE)
    return path / _DEFAULT_FILE if path.is_dir() else path
