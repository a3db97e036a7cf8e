"""The backend `openvino`: completes, loads and opens OpenVINO IR (`model.xml`), and ONNX files if the config names one.

All instances of a version share one compiled model, and with it one copy of the weights; each has its own infer
request.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final

from tritonclient.grpc import model_config_pb2

from slipway.backends.api import CompletionContext, ModelContext
from slipway.backends.openvino.graph import graph_of, input_names, output_names, port_name
from slipway.backends.openvino.library import Compilation, open_core, read_model
from slipway.backends.openvino.options import Options, compile_options, device_words, extension_of, shaping_of
from slipway.backends.openvino.runner import Binding, FixedBatch, RequestRunner
from slipway.backends.openvino.shapes import apply_shapes, fixed_rows, without_fixed_rows
from slipway.backends.shared.files import model_file
from slipway.backends.shared.graph import Graph, scalar_outputs
from slipway.backends.shared.graph_check import check_config
from slipway.backends.shared.graph_complete import complete_unless_given
from slipway.backends.shared.parameters import instance_count, parameter_problem
from slipway.backends.shared.stacked import StackedModel
from slipway.errors import refused, unsupported
from slipway.problems import Problem

_LOG: Final = logging.getLogger("slipway.openvino")
_DEFAULT_FILE = "model.xml"
_ONNX_FILE = "model.onnx"


class OpenVinoBackend:
    """Runs OpenVINO and ONNX graphs on the CPU."""

    def complete(self, config: model_config_pb2.ModelConfig, context: CompletionContext) -> None:
        """Fill inputs, outputs and batching from the graph, unless inputs and outputs are both given."""

        def read(name: str, version_directory: Path) -> Graph:
            return self.describe(name, version_directory, config)

        complete_unless_given(config, context, read)

    def describe(self, name: str, version_directory: Path, config: model_config_pb2.ModelConfig) -> Graph:
        """Return the graph that a load checks the configuration against."""
        core = _core(name, extension_of(name, config))
        model = read_model(core, _graph_file(name, version_directory, config), name)
        shaping = shaping_of(config)
        apply_shapes(model, config, shaping, name)
        graph = graph_of(model, config)
        return without_fixed_rows(graph, fixed_rows(graph, config, shaping))

    def check(self, context: ModelContext) -> list[Problem]:
        """Check the configuration as a load does; return the settings that have no effect."""
        compile_options(context)
        check_config(context.config, self.describe(context.name, context.version_directory, context.config))
        return device_words(context.config)

    def load(self, context: ModelContext) -> LoadedOpenVinoModel:
        """Read and compile the model, and check the configuration against its graph."""
        path = _graph_file(context.name, context.version_directory, context.config)
        options = compile_options(context)
        core = _core(context.name, options.extension)
        model = read_model(core, path, context.name)
        shaping = shaping_of(context.config)
        apply_shapes(model, context.config, shaping, context.name)
        graph = graph_of(model, context.config)
        rows = fixed_rows(graph, context.config, shaping)
        check_config(context.config, without_fixed_rows(graph, rows))
        return _loaded(context, core, model, options, FixedBatch(rows, pads=shaping.pad_batches))


def load_checked_graph(context: ModelContext, path: Path, options: Options) -> LoadedOpenVinoModel:
    """Load a graph file that the configuration has already been checked against."""
    core = _core(context.name, options.extension)
    return _loaded(context, core, read_model(core, path, context.name), options, FixedBatch())


def _loaded(context: ModelContext, core: Any, model: Any, options: Options, fixed: FixedBatch) -> LoadedOpenVinoModel:
    config = context.config
    graph = graph_of(model, config)
    _warn_of_doubles(context.name, graph)
    properties = {**options.properties, "INFERENCE_PRECISION_HINT": _possible_precision(core, context.name, options)}
    compilation = Compilation(core, model, properties, context.name)
    inputs, outputs = input_names(config), output_names(config)
    binding = Binding(
        context.name,
        graph,
        {port_name(port, inputs): index for index, port in enumerate(model.inputs)},
        {port_name(port, outputs): index for index, port in enumerate(model.outputs)},
        scalar_outputs(config, graph),
        fixed,
    )
    if lost := (inputs - binding.inputs.keys()) | (outputs - binding.outputs.keys()):
        raise unsupported(f"OpenVINO drops these tensors of the graph: {', '.join(sorted(lost))}")
    return LoadedOpenVinoModel(context, compilation, binding)


class LoadedOpenVinoModel(StackedModel):
    """One loaded version: each instance has its own infer request on the shared compiled model."""

    def __init__(self, context: ModelContext, compilation: Compilation, binding: Binding) -> None:
        alone = instance_count(context.config) == 1
        self.compiles_shapes = not binding.fixed.rows
        super().__init__(context, lambda _: RequestRunner(compilation, binding, alone=alone).run)


def _graph_file(name: str, version_directory: Path, config: model_config_pb2.ModelConfig) -> Path:
    """Return the graph's path; a directory named model.onnx holds the graph and its external data."""
    path = model_file(name, version_directory, config.default_model_filename or _DEFAULT_FILE)
    return path / _ONNX_FILE if (path / _ONNX_FILE).is_file() else path


def _core(model_name: str, extension: str) -> Any:
    try:
        return open_core(extension)
    except RuntimeError as error:
        text = (
            f"unable to load model '{model_name}', parameter 'CPU_EXTENSION_PATH': "
            f"'{Path(extension).name}' is not a library of OpenVINO operators"
        )
        raise refused(parameter_problem("CPU_EXTENSION_PATH", text)) from error


def _possible_precision(core: Any, model_name: str, options: Options) -> str:
    """Return the requested precision if this CPU computes in it, else f32: the library would choose one by itself."""
    wanted = str(options.properties["INFERENCE_PRECISION_HINT"])
    needed = {"bf16": "BF16", "f16": "FP16"}.get(wanted, "FP32")
    if needed in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return wanted
    _LOG.warning("model '%s': this CPU does not compute in %s, the model runs in f32", model_name, wanted)
    return "f32"


def _warn_of_doubles(model_name: str, graph: Graph) -> None:
    tensors = (*graph.inputs.values(), *graph.outputs.values())
    if any(tensor.config_type == "TYPE_FP64" for tensor in tensors):
        _LOG.warning(
            "model '%s': OpenVINO computes FP64 in FP32; for FP64 serve it with the backend onnxruntime", model_name
        )
