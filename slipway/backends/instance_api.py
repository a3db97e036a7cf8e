"""The seam between schedulers and the instances that execute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from slipway.backends.api import InstanceSpec, ModelContext
from slipway.core.pending import Pending
from slipway.core.request import InferResponse
from slipway.core.statistics import Timing


@dataclass(slots=True)
class Outcome:
    """How and when one execution ended: an answer per request (None: the instance sends its answers itself)."""

    responses: Sequence[InferResponse | None]
    timing: Timing


Finished = Callable[[Outcome], None]


class Instance(Protocol):
    """One execution slot of a model. All methods are called on the event-loop thread.

    `depth` batches may be started before the first has finished, so that the instance finds its next work without
    waiting for the event loop. A scheduler starts more than one only where committing requests early loses nothing.
    """

    name: str
    depth: int

    def start(self, batch: Sequence[Pending], finished: Finished) -> None:
        """Begin executing; call `finished` once on the loop's thread, possibly before returning. Never raises: a
        failed execution is an Outcome whose responses carry errors."""

    async def check_ready(self) -> None:
        """Raise `SlipwayError` when the instance cannot serve now."""

    async def close(self) -> None:
        """Finish what was started, then release everything."""


@runtime_checkable
class Restarts(Protocol):
    """An instance that goes on after its process has died, with a model that remembers nothing. `deaths` counts them
    and is up to date before the first failure that comes of a death."""

    deaths: int


@runtime_checkable
class OpensInstances(Protocol):
    """A loaded model that opens its own instances (`Placement.PROCESS`)."""

    async def open_instance(self, context: ModelContext, spec: InstanceSpec) -> Instance:
        """Open the instance of `spec`; raise `SlipwayError` when it cannot be opened."""
