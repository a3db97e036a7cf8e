"""The backend `function`: models of the Python program that the server runs in.

Not in the registry: the program passes it to its server, and a configuration that names it elsewhere gets the error for
an unknown backend.
"""

from __future__ import annotations

from collections.abc import Mapping

from tritonclient.grpc import model_config_pb2

from slipway.backends.api import CompletionContext, Executor, InstanceSpec, ModelContext, Placement
from slipway.backends.function.bound_model import BoundModel
from slipway.backends.function.calling import Caller
from slipway.backends.function.executors import CallExecutor, StreamExecutor, UserObject
from slipway.backends.function.messages import ModelInstance
from slipway.backends.python.coroutines import CoroutineThread
from slipway.core.signature import ModelSignature
from slipway.errors import invalid

Key = tuple[str, int]  # name and version


class FunctionBackend:
    """Loads the models of one server; `models` may grow while it runs."""

    def __init__(self, models: Mapping[Key, BoundModel]) -> None:
        self._models = models

    def complete(self, config: model_config_pb2.ModelConfig, context: CompletionContext) -> None:
        """Leave `config` as it is: it was complete when the model was bound."""

    def load(self, context: ModelContext) -> LoadedFunction:
        """Return the model; raise INVALID_ARG for one that is not bound, or whose tensors a load request changed."""
        model = self._models.get((context.name, context.version))
        if model is None:
            raise invalid(f"version {context.version} of model '{context.name}' is not bound to a function")
        _check_override(model, context)
        return LoadedFunction(model, self._models, context.signature)


def _check_override(model: BoundModel, context: ModelContext) -> None:
    """Raise INVALID_ARG if the configuration declares other tensors than the function has."""
    config = context.config
    same = list(config.input) == list(model.config.input) and list(config.output) == list(model.config.output)
    if not same or context.signature.decoupled != model.stream:
        raise invalid(f"the configuration of model '{model.name}' does not fit its function: its tensors cannot change")


class LoadedFunction:
    """One version of a bound model. Instances call in their own threads, so a blocked one blocks nothing else."""

    placement = Placement.THREAD

    def __init__(self, model: BoundModel, models: Mapping[Key, BoundModel], signature: ModelSignature) -> None:
        self._model = model
        self._models = models
        self._signature = signature
        self._coroutines = CoroutineThread(model.name)

    def open(self, instance: InstanceSpec) -> Executor:
        """Return an executor; for a class, create its object and set it up in this thread."""
        model = self._model
        slot = ModelInstance(instance.name, instance.index, model.name, model.version)
        user = UserObject(model, self._models, slot, Caller(self._coroutines))
        user.open()
        return (StreamExecutor if model.stream else CallExecutor)(model, self._signature, user)

    def unload(self) -> None:
        """End the thread of the model's coroutines."""
        self._coroutines.close()
