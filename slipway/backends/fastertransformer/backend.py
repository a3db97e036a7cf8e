"""The backend `fastertransformer`: completes, loads and opens models.

All instances of a version share one engine, and with it one copy of the weights. `transformer/engines.py` chooses the
engine and its precision; the `interface_*` modules read requests.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.backends.api import CompletionContext, Executor, InstanceSpec, ModelContext, Placement
from slipway.backends.fastertransformer.checkpoint_path import checkpoint_directory
from slipway.backends.fastertransformer.completion import complete_interface
from slipway.backends.fastertransformer.configuration import (
    Configuration,
    ModelType,
    data_type_of,
    model_type,
    read_configuration,
)
from slipway.backends.fastertransformer.interface_beta import IDS, BetaInterface
from slipway.backends.fastertransformer.interface_current import GPT_FORM, T5_FORM, CurrentInterface
from slipway.backends.fastertransformer.interface_encoder import BertInterface, T5EncoderInterface
from slipway.backends.shared.engine import open_shown_engine
from slipway.backends.shared.generation import GenerationExecutor, ReadJob
from slipway.backends.shared.single_pass import EncodingExecutor
from slipway.backends.shared.stacked import opened_too_late
from slipway.checkpoints.checkpoint import Checkpoint
from slipway.checkpoints.fastertransformer.reader import read_fastertransformer
from slipway.core.signature import ModelSignature
from slipway.errors import invalid
from slipway.problems import Problem
from slipway.transformer.engines import RoutingEngine
from slipway.transformer.generation import TransformerEngine
from slipway.transformer.options import EngineOptions
from slipway.transformer.spec import Transformer

_LOG: Final = logging.getLogger("slipway.fastertransformer")
_GPU: Final = model_config_pb2.ModelInstanceGroup.KIND_GPU
# The inputs that a model type requires, by interface.
_INPUTS: Final = {
    ModelType.T5: (("input_ids", "max_output_len"), (IDS,)),
    ModelType.GPT: (("input_ids", "request_output_len"), (IDS, "REQUEST_OUTPUT_LEN")),
    ModelType.T5_ENCODER: (("input_ids",),),
    ModelType.BERT: (("input_hidden_state",),),
}


class FasterTransformerBackend:
    """Serves FasterTransformer checkpoints."""

    def complete(self, config: model_config_pb2.ModelConfig, context: CompletionContext) -> None:  # noqa: ARG002
        """Fill in the inputs and outputs of the model type if the file leaves them out."""
        complete_interface(config, model_type(config), data_type_of(config))

    def check(self, context: ModelContext) -> list[Problem]:
        """Check everything that a load checks before it opens an engine."""
        _read(context)
        return []

    def load(self, context: ModelContext) -> LoadedFasterTransformer:
        """Find and read the checkpoint and open an engine on it."""
        configuration, checkpoint = _read(context)
        if any(group.kind == _GPU for group in context.config.instance_group):
            _LOG.warning("model '%s': instance groups do not set the device; use the parameter DEVICE", context.name)
        options = EngineOptions(configuration.engine, configuration.compute_type, configuration.device)
        engine = open_shown_engine(context, checkpoint.spec, checkpoint.weights, options)
        try:
            priority = context.config.dynamic_batching.default_priority_level
            opener = _executor(context.signature, checkpoint.spec, configuration, engine, priority=priority)
        except BaseException:
            engine.close()
            raise
        return LoadedFasterTransformer(engine, opener)


class LoadedFasterTransformer:
    """One loaded version; all executors share `engine`."""

    placement = Placement.THREAD

    def __init__(self, engine: RoutingEngine, open_executor: Callable[[], Executor]) -> None:
        self._engine: RoutingEngine | None = engine
        self._open_executor = open_executor

    def open(self, instance: InstanceSpec) -> Executor:
        """Return an executor on the shared engine."""
        if self._engine is None:
            raise opened_too_late(instance)
        return self._open_executor()

    def unload(self) -> None:
        """Release the weights."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None


def _read(context: ModelContext) -> tuple[Configuration, Checkpoint]:
    """Return the parsed configuration and the checkpoint that it names, whose weights are not read yet."""
    configuration = read_configuration(context.config)
    _check_interface(context, configuration.type)
    values = configuration.values
    directory = checkpoint_directory(context, values.get("model_checkpoint_path", ""), configuration.tensor_parallel)
    return configuration, read_fastertransformer(directory, kind=configuration.type.value, parameters=values)


def _check_interface(context: ModelContext, kind: ModelType) -> None:
    """Refuse a configuration whose inputs do not match any interface of its model type."""
    wanted = _INPUTS[kind]
    if not any(set(names) <= context.signature.inputs.keys() for names in wanted):
        choices = " or ".join(" and ".join(f"'{name}'" for name in names) for names in wanted)
        raise invalid(
            f"unable to load model '{context.name}': model type {kind.value} needs the inputs {choices}; config.pbtxt "
            f"declares {', '.join(context.signature.inputs) or 'none'}. Omit all tensors to have them filled in"
        )


def _executor(
    signature: ModelSignature,
    spec: Transformer,
    configuration: Configuration,
    engine: TransformerEngine,
    *,
    priority: int,
) -> Callable[[], Executor]:
    """Return the function that opens an executor, for the interface that config.pbtxt declares."""
    limits, kind = configuration.limits, configuration.type
    if kind is ModelType.T5_ENCODER:
        return partial(EncodingExecutor, engine, T5EncoderInterface(signature, spec, limits).read)
    if kind is ModelType.BERT:
        return partial(EncodingExecutor, engine, BertInterface(signature, spec, limits).read)
    read: ReadJob
    if IDS in signature.inputs:
        read = BetaInterface(signature, spec, configuration).read
    else:
        form = T5_FORM if kind is ModelType.T5 else GPT_FORM
        read = CurrentInterface(signature, spec, limits, form=form, engine=engine).read
    return partial(GenerationExecutor, engine, read, streams=signature.decoupled, default_priority=priority)
