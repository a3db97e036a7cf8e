"""The seam between the engine and the schedulers, and how every scheduler comes to its end.

All methods are called on the event-loop thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from slipway.core.pending import Pending

STOPPED: Final = "Server is stopping, scheduler for model has stopped accepting new inference requests"


class Scheduler(Protocol):
    """Decides when and with whom a request is executed, and counts it in the model's statistics."""

    def submit(self, pending: Pending) -> None:
        """Take the request; every answer goes through `pending`. Raise `SlipwayError` when it is refused at once."""

    async def drain(self) -> None:
        """Refuse new requests and return when every accepted one is answered."""


class Drain:
    """The end of a scheduler: `closed` from the start of `finish`, which returns once `is_idle` holds."""

    __slots__ = ("_idle", "_is_idle", "closed")

    def __init__(self, is_idle: Callable[[], bool]) -> None:
        self._is_idle = is_idle
        self._idle: asyncio.Future[None] | None = None
        self.closed = False

    async def finish(self) -> None:
        """Close, and wait until nothing is under way; several may wait, and each may be cancelled for itself."""
        self.closed = True
        if self._is_idle():
            return
        if self._idle is None:
            self._idle = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._idle)

    def check(self) -> None:
        """Wake who waits, if nothing is under way any more; called whenever something has ended."""
        if self._idle is not None and not self._idle.done() and self._is_idle():
            self._idle.set_result(None)
