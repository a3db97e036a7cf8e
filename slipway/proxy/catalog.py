"""The models of the server and their routes, followed while they come, go and change.

The index is read at an interval and whenever somebody lists the models; a name that is not known is asked for at once.
A failure that a changed model can explain marks its description as stale.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import Final

from tritonclient.grpc import service_pb2

from slipway.errors import SlipwayError
from slipway.proxy.body import RoutedModel
from slipway.proxy.description import ProxiedModel, describe
from slipway.proxy.document import DOCUMENT_ROUTES
from slipway.proxy.failures import UpstreamFailure
from slipway.proxy.head import Metadata
from slipway.proxy.server_message import read_message
from slipway.proxy.upstream import Upstream

_LOG: Final = logging.getLogger("slipway.proxy")
_READY: Final = "READY"
_PER_LOOK: Final = 64  # descriptions to read again at each look at the index
_EXPLAINED_BY_CHANGE: Final = ("INVALID_ARGUMENT", "NOT_FOUND", "UNAVAILABLE")


@dataclass(frozen=True, slots=True)
class ListedVersion:
    """A version of a model as the server's index has it."""

    name: str
    version: str = ""
    state: str = ""
    reason: str = ""


class Catalog:
    """The models that have a route, by name. `generation` changes whenever they do."""

    def __init__(self, upstream: Upstream, poll_s: float) -> None:
        self._upstream = upstream
        self._poll_s = poll_s
        self._stale: set[str] = set()
        self._turns: deque[str] = deque()  # whose description is read again next
        self._reachable = True
        self.models: dict[str, RoutedModel] = {}
        self.generation = 0

    async def follow(self) -> None:
        """Look at the models until the task is cancelled."""
        while True:
            try:
                await self.refresh(self._upstream.metadata)
            except UpstreamFailure as failure:
                why = self._refused(failure)
                if self._reachable:
                    _LOG.warning("the models of the server are unknown: %s", why)
                self._reachable = False
            else:
                if not self._reachable:
                    _LOG.info("the server answers again")
                self._reachable = True
            await asyncio.sleep(self._poll_s)

    def _refused(self, failure: UpstreamFailure) -> str:
        """Return why the server does not say its models. If it does not accept the proxy's key any more, there may be
        another one for the next look."""
        if failure.code == "UNAUTHENTICATED":
            try:
                self._upstream.renew_key()
            except ValueError as error:
                return f"{failure.text}; {error}"
        return failure.text

    async def index(self, metadata: Metadata, *, only_ready: bool = False) -> list[ListedVersion]:
        """Return the server's index; raise `UpstreamFailure`."""
        request = service_pb2.RepositoryIndexRequest(ready=only_ready).SerializeToString()
        payload = await self._upstream.call("RepositoryIndex", request, metadata)
        answer = read_message(service_pb2.RepositoryIndexResponse, payload)
        return [ListedVersion(each.name, each.version, each.state, each.reason) for each in answer.models]

    async def refresh(self, metadata: Metadata) -> list[ListedVersion]:
        """Read the index, and the descriptions of models that are new or whose turn it is; return the index."""
        entries = await self.index(metadata)
        ready = dict.fromkeys(entry.name for entry in entries if entry.state in (_READY, ""))
        for name in self.models.keys() - ready:
            self._remove(name)
        self._turns = deque(name for name in self._turns if name in ready)
        self._turns.extend(name for name in ready if name not in self._turns)
        for name in list(islice(self._turns, _PER_LOOK)):
            self._turns.rotate(-1)
            try:
                await self._read(name, metadata)
            except UpstreamFailure as failure:  # it may be on its way out: the next index says so
                _LOG.debug("model '%s' has no route: %s", name, failure.text)
        return entries

    async def find(self, name: str, metadata: Metadata) -> RoutedModel:
        """Return the model; raise `UpstreamFailure` if the server does not have it. The routes of test-triton-pub are
        always there."""
        if name in self.models and name not in self._stale:
            return self.models[name]
        try:
            return await self._read(name, metadata)
        except UpstreamFailure:
            route = DOCUMENT_ROUTES.get(name)
            if route is None:
                raise
            return RoutedModel(route.model, route)

    def doubt(self, name: str, failure: UpstreamFailure) -> None:
        """Note a failure of a request: what is known of the model may be out of date."""
        if failure.code in _EXPLAINED_BY_CHANGE and name in self.models:
            self._stale.add(name)

    async def _read(self, name: str, metadata: Metadata) -> RoutedModel:
        asked = service_pb2.ModelMetadataRequest(name=name).SerializeToString()  # ModelConfigRequest has the same form
        about = await self._upstream.call("ModelMetadata", asked, metadata)
        config = await self._upstream.call("ModelConfig", asked, metadata)
        try:
            model = _served(describe(about, config))
        except SlipwayError as error:
            raise UpstreamFailure.of(error) from None
        self._stale.discard(name)
        if self.models.get(name) != model:
            self.models[name] = model
            self.generation += 1
        return model

    def _remove(self, name: str) -> None:
        del self.models[name]
        self._stale.discard(name)
        self.generation += 1


def _served(description: ProxiedModel) -> RoutedModel:
    route = DOCUMENT_ROUTES.get(description.name)
    return RoutedModel(description, route if route is not None and route.fits(description) else None)
