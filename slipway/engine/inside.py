"""The engine as the ensembles and models of one namespace see it: which models they reach by a bare name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from slipway.core.model_id import ModelId
from slipway.core.pending import Deliver, Pending
from slipway.core.request import InferRequest
from slipway.core.signature import ModelSignature
from slipway.engine.serving import Scope


class EngineServices(Protocol):
    """What the engine does for ensembles and models. Names mean what they mean in the given scope."""

    def submit_inside(self, scope: Scope, request: InferRequest, deliver: Deliver) -> Pending:
        """Accept a request from an ensemble or a model's business logic."""

    def signature_inside(self, scope: Scope, name: str, version: str) -> ModelSignature:
        """Return a version's inputs and outputs."""

    async def model_ready_inside(self, scope: Scope, name: str, version: str) -> bool:
        """Return whether a version serves clients and each of its instances reports ready."""

    def model_inside(self, scope: Scope, name: str) -> ModelId | None:
        """Return the model that a name means; None if there is none, or more than one elsewhere."""

    async def load_model_inside(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        """Load every model of a name."""

    async def unload_model(self, name: str, unload_dependents: bool) -> None:
        """Unload every model of a name."""


@dataclass(frozen=True, slots=True, eq=False)
class Inside:
    """The services of an engine in one scope. All methods are called on the event-loop thread."""

    engine: EngineServices
    scope: Scope

    def submit(self, request: InferRequest, deliver: Deliver) -> Pending:
        """Accept a request; raise `SlipwayError` if it is refused."""
        return self.engine.submit_inside(self.scope, request, deliver)

    def signature(self, name: str, version: str) -> ModelSignature:
        """Return a version's inputs and outputs; raise `SlipwayError` if it does not serve."""
        return self.engine.signature_inside(self.scope, name, version)

    async def is_ready(self, name: str, version: str) -> bool:
        """Return whether a version (any: "") is ready."""
        return await self.engine.model_ready_inside(self.scope, name, version)

    def model(self, name: str) -> ModelId | None:
        """Return the model that a name means."""
        return self.engine.model_inside(self.scope, name)
