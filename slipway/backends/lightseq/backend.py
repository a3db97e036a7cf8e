"""The backend `lightseq`: completes, loads and opens models exported for ByteDance's LightSeq.

All instances on a device share one engine, and with it one copy of the weights. `model_types.py` has the inputs and
outputs of each model type; `jobs.py` turns its requests into work for the engine.
"""

from __future__ import annotations

from pathlib import Path
from threading import Lock

from tritonclient.grpc import model_config_pb2

from slipway.backends.api import CompletionContext, Executor, InstanceSpec, ModelContext, Placement
from slipway.backends.lightseq.declared_tensors import check_interface, complete_interface, warn_of_differences
from slipway.backends.lightseq.executors import PERPLEXITY, executor_of, typical_row
from slipway.backends.lightseq.model_file import lightseq_file
from slipway.backends.lightseq.model_types import INTERFACES, SCORING, LightSeqInterface, LightSeqTask, task_of
from slipway.backends.lightseq.settings import LightSeqSettings, read_settings
from slipway.backends.shared.engine import open_shown_engine
from slipway.backends.shared.stacked import opened_too_late
from slipway.checkpoints.lightseq.reader import LightSeqCheckpoint, read_lightseq
from slipway.problems import Problem
from slipway.transformer.engines import RoutingEngine
from slipway.transformer.options import EngineOptions


class LightSeqBackend:
    """Runs LightSeq's Transformer, Bert, Gpt, Moe, T5, MT5 and Vit models and their quantised forms."""

    def complete(self, config: model_config_pb2.ModelConfig, context: CompletionContext) -> None:
        """Fill in inputs and outputs, and correct outputs that are declared wrongly."""
        task = task_of(read_settings(config).model_type, config.name)
        interface = INTERFACES[task]
        if context.version_directory is not None:
            directories = context.model_directory, context.version_directory
            lightseq_file(config.name, config.default_model_filename, *directories)
            if task is LightSeqTask.CONTINUE:  # the outputs of a Gpt depend on its file
                interface = _interface(task, _read(config, *directories))
        complete_interface(config, interface, context.default_max_batch_size)

    def check(self, context: ModelContext) -> list[Problem]:
        """Check everything that a load checks."""
        task = task_of(read_settings(context.config).model_type, context.name)
        checkpoint = _read(context.config, context.model_directory, context.version_directory)
        check_interface(context.config, _interface(task, checkpoint))
        return []

    def load(self, context: ModelContext) -> LoadedLightSeqModel:
        """Read the model file; the engine is opened on the device of the first instance."""
        config = context.config
        settings = read_settings(config)
        task = task_of(settings.model_type, context.name)
        checkpoint = _read(config, context.model_directory, context.version_directory)
        interface = _interface(task, checkpoint)
        check_interface(config, interface)
        warn_of_differences(config, interface)
        return LoadedLightSeqModel(context, settings, task, checkpoint)


class LoadedLightSeqModel:
    """One loaded version."""

    placement = Placement.THREAD

    def __init__(
        self, context: ModelContext, settings: LightSeqSettings, task: LightSeqTask, checkpoint: LightSeqCheckpoint
    ) -> None:
        self._context = context
        self._settings = settings
        self._task = task
        self._checkpoint: LightSeqCheckpoint | None = checkpoint
        self._engines: dict[str, RoutingEngine] = {}
        self._lock = Lock()  # instances are opened in threads of their own

    def open(self, instance: InstanceSpec) -> Executor:
        """Return an executor on the device's engine; open the engine for the first instance there."""
        checkpoint = self._checkpoint
        if checkpoint is None:
            raise opened_too_late(instance)
        device = f"cuda:{instance.device_id}" if instance.kind == "GPU" else "cpu"
        return executor_of(self._task, self._engine(checkpoint, device), checkpoint, self._settings)

    def unload(self) -> None:
        """Release the engines and the file."""
        with self._lock:
            for engine in self._engines.values():
                engine.close()
            self._engines.clear()
        self._checkpoint = None

    def _engine(self, checkpoint: LightSeqCheckpoint, device: str) -> RoutingEngine:
        with self._lock:
            if device not in self._engines:
                self._engines[device] = self._opened(checkpoint, device)
            return self._engines[device]

    def _opened(self, checkpoint: LightSeqCheckpoint, device: str) -> RoutingEngine:
        context, settings = self._context, self._settings
        options = EngineOptions(settings.engine, settings.compute_type, device)
        opened = checkpoint.checkpoint
        typical = typical_row(self._task, checkpoint)
        note = ", the file's int8 weights are dequantised" if checkpoint.conf.quantised else ""
        return open_shown_engine(context, opened.spec, opened.weights, options, typical=typical, note=note)


def _read(config: model_config_pb2.ModelConfig, model_directory: Path, version_directory: Path) -> LightSeqCheckpoint:
    path = lightseq_file(config.name, config.default_model_filename, model_directory, version_directory)
    settings = read_settings(config)
    return read_lightseq(path, settings.model_type, norm_epsilon=settings.norm_epsilon)


def _interface(task: LightSeqTask, checkpoint: LightSeqCheckpoint) -> LightSeqInterface:
    scores = task is LightSeqTask.CONTINUE and checkpoint.conf.sampling_method == PERPLEXITY
    return SCORING if scores else INTERFACES[task]
