"""One loaded version of a model, and how it is released."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from concurrent.futures import Executor
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.backends.api import LoadedModel
from slipway.backends.instance_api import Instance
from slipway.core.signature import ModelSignature
from slipway.core.statistics import ModelStatistics
from slipway.scheduling.api import Scheduler

_LOG: Final = logging.getLogger("slipway.engine")


class ModelVersion:
    """One version that can serve. An ensemble has neither `loaded` nor `instances`."""

    __slots__ = (
        "config",
        "instances",
        "limited",
        "loaded",
        "name",
        "retired",
        "scheduler",
        "signature",
        "statistics",
        "version",
    )

    def __init__(  # noqa: PLR0913  the parts of one record, passed by name
        self,
        name: str,
        version: int,
        *,
        config: model_config_pb2.ModelConfig,
        signature: ModelSignature,
        statistics: ModelStatistics,
        scheduler: Scheduler,
        instances: Sequence[Instance] = (),
        loaded: LoadedModel | None = None,
        limited: bool = False,
    ) -> None:
        self.name = name
        self.version = version
        self.config = config
        self.signature = signature
        self.statistics = statistics
        self.scheduler = scheduler
        self.instances = instances
        self.loaded = loaded
        self.limited = limited  # its instances share resources: nothing but its scheduler runs them
        self.retired = False  # its instances take no more work

    def __repr__(self) -> str:
        return f"'{self.name}' version {self.version}"

    async def retire(self, threads: Executor) -> None:
        """Finish the accepted requests, then release instances and weights; failures are logged, not raised."""
        self.retired = True
        await _attempt(self, self.scheduler.drain())
        await release(self, self.instances, self.loaded, threads)


async def release(label: object, instances: Sequence[Instance], loaded: LoadedModel | None, threads: Executor) -> None:
    """Close every instance, then unload the weights; failures are logged, not raised."""
    for instance in instances:
        await _attempt(label, instance.close())
    if loaded is not None:
        await _attempt(label, asyncio.get_running_loop().run_in_executor(threads, loaded.unload))


async def _attempt(label: object, step: Awaitable[object]) -> None:
    try:
        await step
    except Exception:  # noqa: BLE001  user code and foreign libraries: the rest must still be released
        _LOG.exception("releasing %s failed", label)
