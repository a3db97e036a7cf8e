"""The backend `pytorch`: loads and opens TorchScript and torch.export models.

All instances of a version share one module, and with it one copy of the weights.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.backends.api import CompletionContext, InstanceSpec, ModelContext
from slipway.backends.pytorch.archive import TorchFile, kind_of
from slipway.backends.pytorch.graph import exported_graph
from slipway.backends.pytorch.module import TorchModule, open_module
from slipway.backends.shared.batch_tensor_check import batch_tensor_problems
from slipway.backends.shared.files import model_file, relative_file
from slipway.backends.shared.graph import Graph
from slipway.backends.shared.graph_complete import complete_unless_given
from slipway.backends.shared.ignored import ignored_parameters, log_ignored
from slipway.backends.shared.parameters import Parameters
from slipway.backends.shared.stacked import Run, StackedModel
from slipway.errors import Code, refused
from slipway.problems import Problem, Rule

_LOG: Final = logging.getLogger("slipway.pytorch")


class PyTorchBackend:
    """Runs torch modules on the CPU."""

    def complete(self, config: model_config_pb2.ModelConfig, context: CompletionContext) -> None:
        """Name the file if there is only a torch.export file, and fill in its inputs, outputs and batching; TorchScript
        does not describe them."""
        directory = context.version_directory
        if not config.default_model_filename and directory is not None:
            config.default_model_filename = _default_file(config, directory)
        if _is_exported(config, context):
            complete_unless_given(config, context, partial(_read_exported, config))
        elif not config.input or not config.output:
            _LOG.warning(
                "skipping model configuration auto-complete for '%s': not supported for pytorch backend; write the "
                "inputs and outputs into config.pbtxt",
                config.name or context.model_directory.name,
            )

    def check(self, context: ModelContext) -> list[Problem]:
        """Check the configuration as a load does; return the settings that have no effect."""
        self._open(context)
        return _ignored_words(context.config)

    def load(self, context: ModelContext) -> LoadedTorchModel:
        """Read the module and match its arguments to the configuration."""
        log_ignored(_LOG, context.name, _ignored_words(context.config))
        module, parameters = self._open(context)
        _set_interop_threads(context.name, parameters)
        return LoadedTorchModel(context, module, parameters)

    def _open(self, context: ModelContext) -> tuple[TorchModule, Parameters]:
        config = context.config
        if config.runtime.endswith(".py"):
            text = (
                f"unable to load model '{context.name}', runtime '{config.runtime}' of the pytorch backend is not "
                f'supported; use backend "python" with a model.py'
            )
            problem = Problem(Rule.NOT_OFFERED, text, ("runtime",), "write a Python model")
            raise refused(problem, code=Code.UNSUPPORTED)
        for kind, declared in (("input", config.input), ("output", config.output)):
            if not declared:
                text = f"model configuration must contain at least one {kind}, none were specified."
                problem = Problem(Rule.TENSORS_UNDECLARED, text, (kind,), f"declare each {kind}")
                raise refused(problem, code=Code.INTERNAL)
        problems = list(batch_tensor_problems(config))
        if problems:
            raise refused(*problems, separator="\n")
        file_name = config.default_model_filename or _default_file(config, context.version_directory)
        forward = open_module(model_file(context.name, context.version_directory, file_name), context.name)
        parameters = Parameters(config)
        module = TorchModule(
            forward,
            context.signature,
            inference_mode=parameters.boolean("INFERENCE_MODE", True),
            optimized=not parameters.boolean("DISABLE_OPTIMIZED_EXECUTION", False),
        )
        for key in ("INTRA_OP_THREAD_COUNT", "NUM_THREADS", "INTER_OP_THREAD_COUNT", "NUM_INTEROP_THREADS"):
            parameters.integer(key)  # raises if the value is not a number
        return module, parameters


class LoadedTorchModel(StackedModel):
    """One loaded version: all instances call its module, each with the thread count of its own thread."""

    def __init__(self, context: ModelContext, module: TorchModule, parameters: Parameters) -> None:
        explicit = parameters.integer("INTRA_OP_THREAD_COUNT") or parameters.integer("NUM_THREADS")
        threads = explicit if explicit > 0 else context.threads

        def start(_: InstanceSpec) -> Run:
            import torch

            torch.set_num_threads(threads)  # torch keeps this count per thread
            return module.run

        super().__init__(context, start)


def _ignored_words(config: model_config_pb2.ModelConfig) -> list[Problem]:
    return ignored_parameters(config, "pytorch")


def _is_exported(config: model_config_pb2.ModelConfig, context: CompletionContext) -> bool:
    name, directory = context.model_directory.name, context.version_directory
    if directory is None or config.runtime.endswith(".py"):
        return False
    path = directory / relative_file(name, config.default_model_filename, "version")
    return path.is_file() and kind_of(path, name) is TorchFile.EXPORTED


def _read_exported(config: model_config_pb2.ModelConfig, name: str, version_directory: Path) -> Graph:
    return exported_graph(version_directory / config.default_model_filename, name)


def _default_file(config: model_config_pb2.ModelConfig, version_directory: Path) -> str:
    exported = config.platform == "torch_aoti" or not (version_directory / "model.pt").exists()
    return "model.pt2" if exported and (version_directory / "model.pt2").exists() else "model.pt"


def _set_interop_threads(model_name: str, parameters: Parameters) -> None:
    """Set torch's process-wide number of inter-op threads, which can be set only once."""
    import torch

    count = parameters.integer("INTER_OP_THREAD_COUNT") or parameters.integer("NUM_INTEROP_THREADS")
    if count <= 0 or count == torch.get_num_interop_threads():
        return
    try:
        torch.set_num_interop_threads(count)
    except RuntimeError:
        _LOG.warning("model '%s': inter-op threads are already set for this process, %d is ignored", model_name, count)
