"""Models from directories outside the repositories, loaded and unloaded together: an archive of a multi-model endpoint.

Their composing models need not be in a repository either. A name that is served, or being loaded, is not taken again;
with namespaces, every archive is one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from slipway.config.options import ServerOptions
from slipway.core.model_id import ModelId
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
        self._loading: set[ModelId] = set()

    def is_served(self, name: str) -> bool:
        """Return whether a version of a model of that name serves."""
        return any(self._serving.versions(model) for model in self._serving.names.meant(name))

    async def load(self, directories: Mapping[str, Path]) -> None:
        """Load a model from each directory, under its name here; if one fails, none of them serves. Raise
        ALREADY_EXISTS for a name that is taken, UNSUPPORTED in other modes than explicit."""
        if self._options.model_control_mode != "explicit":
            raise unsupported("repository registration is not allowed if model control mode is not EXPLICIT")
        if self._serving.closed:
            raise unavailable("Server is stopping, models can no longer be loaded or unloaded")
        requests = {self._id(name, path): LoadRequest(directory=path) for name, path in directories.items()}
        for model in requests:
            check_model_name(model.name)
            if self._serving.versions(model) or model in self._loading:
                raise SlipwayError(Code.ALREADY_EXISTS, f"model '{shown(model.name)}' has already been registered")
        self._loading |= requests.keys()
        try:
            failed = await self._lifecycle.load(requests)
            if failed:
                await self._take_down(requests)
                model = min(failed)
                raise failed[model].error(model.name)
        finally:
            self._loading -= requests.keys()

    async def unload(self, directories: Mapping[str, Path]) -> None:
        """Unload what `load` loaded, and wait until the files are not needed any more, for `_UNLOAD_S` seconds at
        most."""
        await self._take_down([self._id(name, path) for name, path in directories.items()])

    def _id(self, name: str, directory: Path) -> ModelId:
        return ModelId(str(directory.parent) if self._options.model_namespacing else "", name)

    async def _take_down(self, models: Collection[ModelId]) -> None:
        for model in models:
            await self._lifecycle.unload([model])
        deadline = time.monotonic() + _UNLOAD_S
        while any(map(self._is_unloading, models)) and time.monotonic() < deadline:  # noqa: ASYNC110  rows have no events
            await asyncio.sleep(_LOOK_S)
        for model in models:
            if all(row.state is State.UNAVAILABLE for _, row in self._states.versions(model)):
                self._states.forget(model)  # unless it is still unloading, or has been loaded again meanwhile

    def _is_unloading(self, model: ModelId) -> bool:
        return any(row.state is State.UNLOADING for _, row in self._states.versions(model))
