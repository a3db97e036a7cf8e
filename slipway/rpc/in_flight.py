"""The number of open requests, so that a shutdown can wait for them and refuse new ones."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from slipway.core.budget import TOO_MUCH_HELD, Budget, default_budget
from slipway.errors import SlipwayError, unavailable


class InFlight:
    """Counts accepted requests; event-loop thread only."""

    __slots__ = ("_budget", "_idle", "count", "stopping")

    def __init__(self, budget: Budget | None = None) -> None:
        self._budget = budget or Budget(default_budget())
        self.count = 0
        self.stopping = False
        self._idle = asyncio.Event()

    def hold(self, size: int) -> None:
        """Take the bytes of a large message from the budget of all connections; raise UNAVAILABLE if that is spent."""
        if not self._budget.take(size):
            raise unavailable(TOO_MUCH_HELD)

    def release(self, size: int) -> None:
        """Give the bytes of an answered message back."""
        self._budget.give_back(size)

    def leave(self) -> None:
        """Count one request as answered."""
        self.count -= 1
        if self.stopping and self.count == 0:
            self._idle.set()

    def refusal(self) -> SlipwayError:
        """Return the error for a request that arrives after `stop`."""
        return unavailable("GRPC server is shutting down and has stopped accepting new requests.")

    def refuse_if_stopping(self) -> None:
        """Raise the refusal after `stop`."""
        if self.stopping:
            raise self.refusal()

    async def stop(self, grace_s: float) -> None:
        """Refuse new requests and wait up to `grace_s` seconds for the accepted ones; `count` are not answered then."""
        self.stopping = True
        if self.count:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), grace_s)
