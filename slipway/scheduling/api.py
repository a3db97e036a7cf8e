"""The interface between the engine and the schedulers, and the draining that all schedulers share.

All methods are called on the event-loop thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from slipway.core.pending import Pending

STOPPED: Final = "Server is stopping, scheduler for model has stopped accepting new inference requests"


class Scheduler(Protocol):
    """Decides when and in which batch a request is executed, and counts it in the model's statistics."""

    def submit(self, pending: Pending) -> None:
        """Take the request; every response goes through `pending`. Raise `SlipwayError` if it is refused at once."""

    def is_idle(self) -> bool:
        """Return whether every accepted request is answered."""

    async def drain(self) -> None:
        """Refuse new requests and wait until every accepted one is answered."""


class Drain:
    """The draining of a scheduler: `finish` sets `closed` and returns once `is_idle` returns true."""

    __slots__ = ("_idle", "_is_idle", "closed")

    def __init__(self, is_idle: Callable[[], bool]) -> None:
        self._is_idle = is_idle
        self._idle: asyncio.Future[None] | None = None
        self.closed = False

    async def finish(self) -> None:
        """Close, and wait until no request is open; several tasks may wait, and each may be cancelled independently."""
        self.closed = True
        if self._is_idle():
            return
        if self._idle is None:
            self._idle = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._idle)

    def check(self) -> None:
        """Wake the waiting tasks if no request is open any more; called whenever something has finished."""
        if self._idle is not None and not self._idle.done() and self._is_idle():
            self._idle.set_result(None)
