"""One loaded version of a model, and how it is released.

A version may take over instances and weights from its predecessor; the last one that uses them releases them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.backends.api import InstanceSpec, LoadedModel
from slipway.backends.instance_api import Instance
from slipway.core.model_id import ModelId
from slipway.core.signature import ModelSignature
from slipway.core.statistics import ModelStatistics
from slipway.scheduling.api import Scheduler

_LOG: Final = logging.getLogger("slipway.engine")


class Users:
    """Counts the versions that use an instance or a loaded model; successive versions that share some share it."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()  # by identity: what is counted is alive

    def add(self, parts: Iterable[object]) -> None:
        """Count one more version that uses `parts`."""
        self._counts.update(map(id, parts))

    def remove(self, part: object) -> bool:
        """Count one version less; return whether it was the last one."""
        self._counts[id(part)] -= 1
        if self._counts[id(part)] > 0:
            return False
        del self._counts[id(part)]
        return True


class ModelVersion:
    """One version that can serve. An ensemble has neither `loaded` nor `instances`."""

    __slots__ = (
        "config",
        "directory",
        "id",
        "identity",
        "instances",
        "limited",
        "loaded",
        "name",
        "preparing",
        "retired",
        "scheduler",
        "signature",
        "specs",
        "statistics",
        "users",
        "version",
    )

    def __init__(  # noqa: PLR0913  the parts of one record, passed by name
        self,
        model: ModelId,
        version: int,
        *,
        config: model_config_pb2.ModelConfig,
        signature: ModelSignature,
        statistics: ModelStatistics,
        scheduler: Scheduler,
        instances: Sequence[Instance] = (),
        loaded: LoadedModel | None = None,
        limited: bool = False,
        identity: bytes = b"",
        specs: Sequence[InstanceSpec] = (),
        users: Users | None = None,
        directory: Path | None = None,
    ) -> None:
        self.id = model
        self.name = model.name
        self.version = version
        self.config = config
        self.signature = signature
        self.statistics = statistics
        self.scheduler = scheduler
        self.instances = instances
        self.loaded = loaded
        self.limited = limited  # its instances share resources: nothing but its scheduler runs them
        self.identity = identity  # for the response cache, see `engine.caching`
        self.specs = specs  # of its instances
        self.directory = directory  # of the version's files
        self.users = users or Users()
        self.users.add(self._parts())
        self.preparing = False  # its instances run made-up batches
        self.retired = False  # its scheduler takes no more work

    def __repr__(self) -> str:
        return f"'{self.id}' version {self.version}"

    async def retire(self, threads: Executor) -> None:
        """Finish the accepted requests, then release instances and weights; failures are logged, not raised."""
        self.retired = True
        await _attempt(self, self.scheduler.drain())
        unused = [part for part in self._parts() if self.users.remove(part)]
        instances = [instance for instance in self.instances if instance in unused]
        await release(self, instances, self.loaded if self.loaded in unused else None, threads)

    def _parts(self) -> list[object]:
        return [*self.instances, *([] if self.loaded is None else [self.loaded])]


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
