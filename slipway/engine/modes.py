"""The model control modes: which models load at start, and how that may change later.

`none` loads everything once, `poll` follows changes in the repositories, `explicit` loads on request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

from slipway.config.options import ServerOptions
from slipway.core.model_id import ModelId
from slipway.engine.failures import NOT_UNIQUE, LoadFailure
from slipway.engine.lifecycle import Lifecycle
from slipway.engine.source import LoadRequest
from slipway.engine.states import StateTable
from slipway.errors import internal, unavailable
from slipway.repository.diff import diff
from slipway.repository.fingerprint import Fingerprint
from slipway.repository.repositories import FoundModels, Repositories
from slipway.repository.scan import is_single_model

_LOG: Final = logging.getLogger("slipway.engine")

EVERYTHING = "*"  # --load-model=*


def require_explicit(options: ServerOptions) -> None:
    """Raise UNAVAILABLE, with Triton's text, if clients may not load and unload models."""
    if options.model_control_mode != "explicit":
        raise unavailable("explicit model load / unload is not allowed if polling is enabled")


class Control:
    """Loads the models that the mode selects: at start and, in mode `poll`, whenever the repositories change."""

    def __init__(
        self, options: ServerOptions, lifecycle: Lifecycle, states: StateTable, repositories: Repositories
    ) -> None:
        self._options = options
        self._lifecycle = lifecycle
        self._states = states
        self._repositories = repositories
        self._seen: dict[ModelId, Fingerprint] = {}
        self._named: set[tuple[str, str]] = set()  # problems that were already logged
        self._polling: asyncio.Task[None] | None = None
        self.is_complete = True  # every remote repository has been listed

    async def start(self) -> dict[ModelId, LoadFailure]:
        """Load the models that the mode selects at start; return why some failed."""
        for repository in self._options.model_repository:
            if is_single_model(repository):
                _LOG.warning("'%s' is a model directory, not a model repository: serving only this model", repository)
        mode = self._options.model_control_mode
        if mode == "poll":
            failed = await self.poll()
            self._require_readable()
            self._polling = asyncio.get_running_loop().create_task(self._poll_for_ever())
            return failed
        if mode == "explicit" and EVERYTHING not in self._options.load_model:
            if self._repositories.mirrors:
                await asyncio.to_thread(self._scan)
                self._require_readable()
            names = self._options.load_model
            return await self._lifecycle.load_named({name: LoadRequest() for name in sorted(names)}) if names else {}
        scan = await asyncio.to_thread(self._scan)
        self._require_readable()
        duplicates = dict.fromkeys(sorted(scan.duplicates), NOT_UNIQUE)
        return {**await self._load(scan.models.keys() - scan.duplicates), **duplicates}

    async def stop(self) -> None:
        """Stop polling."""
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.wait([self._polling])

    async def load_again(self, models: Iterable[ModelId]) -> dict[ModelId, LoadFailure]:
        """Load models from their files as they are now; return why some failed."""
        return await self._load(models)

    async def poll(self) -> dict[ModelId, LoadFailure]:
        """Load new and changed models, unload removed ones; return why some failed."""
        scan = await asyncio.to_thread(self._scan)
        if scan.unreadable and self._seen:  # a passing file system failure must not unload everything
            return {}
        models = {model: path for model, path in scan.models.items() if model not in scan.duplicates}
        now = await asyncio.to_thread(self._repositories.fingerprints, models)
        kept = {model: look for model, look in self._seen.items() if model in scan.duplicates}
        difference = diff(self._seen, now | kept)
        self._seen = now | kept
        for model in difference.removed:
            await self._lifecycle.unload([model])
            self._states.forget(model)
        completed = await asyncio.to_thread(self._repositories.completed, models)
        return await self._load({*difference.added, *difference.changed, *completed})

    def _require_readable(self) -> None:
        """Raise INTERNAL if a remote repository could not be listed at start; directories were checked before."""
        failures = self._repositories.failures
        if failures and self._options.exit_on_error:
            raise internal(failures[0])

    async def _poll_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._options.repository_poll_secs)
            try:
                await self.poll()
            except Exception:  # noqa: BLE001  after any failure the next change must still be noticed
                _LOG.exception("polling the model repositories failed")

    async def _load(self, models: Iterable[ModelId]) -> dict[ModelId, LoadFailure]:
        requests = {model: LoadRequest() for model in sorted(models)}
        return await self._lifecycle.load(requests) if requests else {}

    def _scan(self) -> FoundModels:
        scan = self._repositories.scan()
        problems = {(name, f"is not a model: {why}") for name, why in scan.strays}
        problems |= {(name, f"cannot be read: {why}") for name, why in scan.unreadable}
        problems |= {(str(model), NOT_UNIQUE.detail) for model in scan.duplicates}
        for name, why in sorted(problems - self._named):
            _LOG.warning("'%s' %s", name, why)
        self._named = problems
        self.is_complete = not self._repositories.unlisted
        return scan
