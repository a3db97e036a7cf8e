"""The backend `python`: Triton's Python models, in child processes or, if configured, in threads of the server."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.backends.api import CompletionContext, Executor, InstanceSpec, ModelContext, Placement
from slipway.backends.instance_api import Instance
from slipway.backends.python.arguments import initialize_arguments, model_file
from slipway.backends.python.completion import complete_config
from slipway.backends.python.environments.environment import (
    PARAMETER,
    ModelEnvironment,
    environment_path,
    locate,
    open_environment,
)
from slipway.backends.python.errors import describe_exception
from slipway.backends.python.host_server import HostServer
from slipway.backends.python.importing import ImportSpace
from slipway.backends.python.model import PythonModel
from slipway.backends.python.placement import placement
from slipway.backends.python.scope import ModelScope
from slipway.backends.python.surface import build_surface
from slipway.backends.python.suspects import Suspects
from slipway.backends.python.thread import ThreadExecutor
from slipway.backends.shared.ignored import ignored, log_ignored
from slipway.errors import internal
from slipway.problems import Named, Problem

_LOG: Final = logging.getLogger("slipway.python")


class PythonBackend:
    """Runs `<version>/model.py`, or `model_file`, which a Python-based backend uses for all its models."""

    def __init__(self, model_file: Path | None = None) -> None:
        self._model_file = model_file

    def complete(self, config: model_config_pb2.ModelConfig, context: CompletionContext) -> None:
        """Fill `config` from the model's `auto_complete_config`, run in a child process."""
        file = self._model_file
        if file is None:
            if context.version_directory is None:
                return
            file = model_file(context.version_directory, config.default_model_filename)
        complete_config(config, file, context.model_directory)

    def check(self, context: ModelContext) -> list[Problem]:
        """Check what a load checks before it runs the model's code; return the settings that have no effect."""
        self._file(context)
        placed, written = placement(context.config), environment_path(context.config)
        if written and placed is Placement.PROCESS:
            locate(written, context.model_directory)
        return _ignored_words(context.config)

    def load(self, context: ModelContext) -> LoadedPython:
        """Check everything that can be checked without running the model, and unpack its environment; its instances
        are opened one by one."""
        file = self._file(context)
        log_ignored(_LOG, context.name, _ignored_words(context.config))
        placed = placement(context.config)
        alone = placed is Placement.PROCESS
        environment = open_environment(context.config, context.model_directory) if alone else None
        return LoadedPython(context, file, placed, environment)

    def _file(self, context: ModelContext) -> Path:
        return self._model_file or model_file(context.version_directory, context.config.default_model_filename)


def _ignored_words(config: model_config_pb2.ModelConfig) -> list[Problem]:
    if not environment_path(config) or placement(config) is Placement.PROCESS:
        return []
    path = ("parameters", Named(PARAMETER, "key"))
    return [ignored(PARAMETER, ", a model in a thread runs in the server's own environment", path)]


class LoadedPython:
    """One version of a Python model. Its instances share nothing but what is known of the requests that kill them."""

    def __init__(
        self, context: ModelContext, file: Path, placement: Placement, environment: ModelEnvironment | None
    ) -> None:
        self.placement = placement
        self.keeps_loaded = placement is Placement.PROCESS  # in a thread, an instance gets the config of this load
        self.file = file
        self._environment = environment
        self._context = context
        self._suspects = Suspects()

    def open(self, instance: InstanceSpec) -> Executor:
        """Import and initialize the model in this thread (thread mode only)."""
        context = self._context
        directories = [self.file.parent, self.file.parent.parent]
        version_directory = str(context.version_directory)
        scope = ModelScope(HostServer(context.host), instance.name, str(context.model_directory), version_directory)
        surface = build_surface(scope)
        space = ImportSpace(directories, surface)
        space.open()
        iterative = context.config.sequence_batching.iterative_sequence
        model = PythonModel(scope, context.name, context.signature.decoupled, iterative=iterative)
        try:
            try:
                module = space.import_module(self.file.stem)
            except BaseException as error:  # noqa: BLE001  importing runs user code
                raise internal(describe_exception(error, scope.model_directory)) from None
            model.start(module, initialize_arguments(context, instance))
        except BaseException:
            space.close()
            raise
        return ThreadExecutor(model, surface.InferenceRequest, context.signature, space.close)

    async def open_instance(self, context: ModelContext, spec: InstanceSpec) -> Instance:
        """Start a child process and initialize the model in it; raise `SlipwayError` with its traceback."""
        from slipway.backends.python.process.instance import ProcessInstance  # not needed in thread mode

        instance = ProcessInstance(self.file, context, spec, suspects=self._suspects, environment=self._environment)
        await instance.open()
        return instance

    def unload(self) -> None:
        """Release the environment; each instance has already released its resources."""
        if self._environment is not None:
            self._environment.release()
