"""Retires versions: finishes the requests they accepted, then releases instances, weights and files.

Runs in the background after the operation that took them out of service. Keeps no reference to a released version.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Final

from slipway.core.model_id import ModelId
from slipway.engine.heap import settle_heap
from slipway.engine.model import ModelVersion
from slipway.engine.serving import ServingTable, Versions
from slipway.engine.source import ModelSource
from slipway.engine.states import StateRow, StateTable

_LOG: Final = logging.getLogger("slipway.engine")


@dataclass(slots=True, eq=False)
class Departure:
    """Versions of one model that retire together. `rows` are the state rows of versions without a replacement; `hidden`
    are the versions that models may still call until it is their turn; `source` is discarded with the last version."""

    id: ModelId
    models: Sequence[ModelVersion]
    rows: Mapping[int, StateRow] = field(default_factory=dict)
    hidden: Versions | None = None
    source: ModelSource | None = None


class Retirement:
    """The versions that are being retired."""

    def __init__(self, serving: ServingTable, states: StateTable, threads: Executor) -> None:
        self._serving = serving
        self._states = states
        self._threads = threads
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, waves: Iterable[Sequence[Departure]]) -> None:
        """Retire groups one after another: callers first, then the models they call."""
        task = asyncio.get_running_loop().create_task(self._retire([list(wave) for wave in waves]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finished(self) -> None:
        """Wait until everything that began to retire is released."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _retire(self, waves: list[list[Departure]]) -> None:
        while waves:
            await asyncio.gather(*(self._depart(departure) for departure in waves.pop(0)))
        settle_heap()

    async def _depart(self, departure: Departure) -> None:
        if departure.hidden is not None:
            self._serving.drop(departure.id, departure.hidden)
        await asyncio.gather(*(model.retire(self._threads) for model in departure.models))
        for model in departure.models:
            _LOG.info("successfully unloaded '%s' version %d", departure.id, model.version)
        for version, row in departure.rows.items():
            self._states.finish_unload(departure.id, version, row)
        if departure.source is not None:
            departure.source.discard()
