"""The backend `tensorrt`: completes, loads and opens TensorRT plans (`model.plan`).

All instances on a GPU share one engine, and with it one copy of the weights; each has its own execution context.
"""

from __future__ import annotations

import logging
from pathlib import Path
from threading import Lock
from typing import Any, Final

from tritonclient.grpc import model_config_pb2

from slipway.backends.api import CompletionContext, InstanceSpec, ModelContext
from slipway.backends.shared.files import model_file
from slipway.backends.shared.graph import scalar_outputs
from slipway.backends.shared.graph_check import check_config
from slipway.backends.shared.graph_complete import complete_from_graph, is_complete
from slipway.backends.shared.stacked import Run, StackedModel
from slipway.backends.tensorrt.graph import EngineDescription, describe
from slipway.backends.tensorrt.library import PlanEngine, read_plan, require_tensorrt
from slipway.backends.tensorrt.profiles import allowed_profiles, check_profiles, largest_batch
from slipway.backends.tensorrt.runner import ContextRunner

_LOG: Final = logging.getLogger("slipway.tensorrt")
_DEFAULT_FILE = "model.plan"


class TensorRtBackend:
    """Runs TensorRT plans on NVIDIA GPUs; on a machine without one, the error says what to do instead."""

    def complete(self, config: model_config_pb2.ModelConfig, context: CompletionContext) -> None:
        """Fill inputs, outputs and batching from the plan, unless inputs and outputs are both given."""
        name = config.name or context.model_directory.name
        if is_complete(config) or context.version_directory is None:
            _LOG.info("skipping model configuration auto-complete for '%s'", name)
            return
        path = model_file(name, context.version_directory, config.default_model_filename or _DEFAULT_FILE)
        plan = describe(read_plan(require_tensorrt(name), path, 0, name).engine)
        complete_from_graph(config, plan.graph, name, largest_batch(plan.profiles))

    def load(self, context: ModelContext) -> LoadedPlan:
        """Read the plan and check the configuration against it; raise UNAVAILABLE where it cannot run."""
        name, config = context.name, context.config
        path = model_file(name, context.version_directory, config.default_model_filename or _DEFAULT_FILE)
        tensorrt = require_tensorrt(name)
        engine = read_plan(tensorrt, path, 0, name)
        plan = describe(engine.engine)
        check_config(config, plan.graph)
        numbers = allowed_profiles(config, len(plan.profiles))
        check_profiles(config, [plan.profiles[number] for number in numbers])
        return LoadedPlan(context, tensorrt, path, plan=plan, profiles=numbers, first=engine)


class LoadedPlan(StackedModel):
    """One loaded version: its engine on every GPU that has instances."""

    def __init__(
        self,
        context: ModelContext,
        tensorrt: Any,
        path: Path,
        *,
        plan: EngineDescription,
        profiles: tuple[int, ...],
        first: PlanEngine,
    ) -> None:
        super().__init__(context, self._context_runner)
        self._context = context
        self._tensorrt = tensorrt
        self._path = path
        self._plan = plan
        self._profiles = {number: plan.profiles[number] for number in profiles}
        self._engines = {0: first}  # by GPU
        self._lock = Lock()  # instances open in threads of their own

    def unload(self) -> None:
        """Release the engines; their memory is freed once every executor is closed."""
        super().unload()
        self._engines.clear()

    def _context_runner(self, instance: InstanceSpec) -> Run:
        """Return the function that runs the instance's execution context on the engine of its GPU."""
        context = self._context
        device = instance.device_id if instance.kind == "GPU" else 0
        with self._lock:
            if device not in self._engines:
                self._engines[device] = read_plan(self._tensorrt, self._path, device, context.name)
        runner = ContextRunner(
            self._engines[device],
            device,
            plan=self._plan,
            profiles=self._profiles,
            scalars=scalar_outputs(context.config, self._plan.graph),
            model_name=context.name,
        )
        return runner.run
