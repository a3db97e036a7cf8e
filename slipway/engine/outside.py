"""Models from directories outside the repositories, loaded and unloaded together: an archive of a multi-model endpoint.

Their composing models need not be in a repository either. A name that is served, or being loaded, is not taken again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from slipway.config.options import ServerOptions
from slipway.engine.lifecycle import Lifecycle
from slipway.engine.serving import ServingTable
from slipway.engine.source import LoadRequest
from slipway.engine.states import State, StateTable
from slipway.errors import Code, SlipwayError, shown, unavailable, unsupported
from slipway.repository.names import check_model_name

_LOOK_S: Final = 0.02
_UNLOAD_S: Final = 350.0  # SageMaker gives up after 360 seconds


class OutsideModels:
    """Loads and unloads such models; everything runs on the event loop."""

    def __init__(self, options: ServerOptions, lifecycle: Lifecycle, serving: ServingTable, states: StateTable) -> None:
        self._options = options
        self._lifecycle = lifecycle
        self._serving = serving
        self._states = states
        self._loading: set[str] = set()

    def is_served(self, name: str) -> bool:
        """Return whether a version of the model serves."""
        return bool(self._serving.versions(name))

    async def load(self, directories: Mapping[str, Path]) -> None:
        """Load a model from each directory, under its name here; if one fails, none of them serves. Raise
        ALREADY_EXISTS for a name that is taken, UNSUPPORTED in other modes than explicit."""
        if self._options.model_control_mode != "explicit":
            raise unsupported("repository registration is not allowed if model control mode is not EXPLICIT")
        if self._serving.closed:
            raise unavailable("Server is stopping, models can no longer be loaded or unloaded")
        for name in directories:
            check_model_name(name)
            if self.is_served(name) or name in self._loading:
                raise SlipwayError(Code.ALREADY_EXISTS, f"model '{shown(name)}' has already been registered")
        self._loading |= directories.keys()
        try:
            requests = {name: LoadRequest(directory=path) for name, path in directories.items()}
            failed = await self._lifecycle.load(requests)
            if failed:
                await self._take_down(directories)
                name = min(failed)
                raise failed[name].error(name)
        finally:
            self._loading -= directories.keys()

    async def unload(self, names: Collection[str]) -> None:
        """Unload models and wait until their files are not needed any more, for `_UNLOAD_S` seconds at most."""
        await self._take_down(names)

    async def _take_down(self, names: Collection[str]) -> None:
        for name in names:
            await self._lifecycle.unload(name)
        deadline = time.monotonic() + _UNLOAD_S
        while any(map(self._is_unloading, names)) and time.monotonic() < deadline:  # noqa: ASYNC110  rows have no events
            await asyncio.sleep(_LOOK_S)
        for name in names:
            if all(row.state is State.UNAVAILABLE for _, row in self._states.versions(name)):
                self._states.forget(name)  # unless it is still unloading, or has been loaded again meanwhile

    def _is_unloading(self, name: str) -> bool:
        return any(row.state is State.UNLOADING for _, row in self._states.versions(name))
