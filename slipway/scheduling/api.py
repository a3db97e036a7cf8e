"""The seam between the engine and the schedulers. All methods are called on the event-loop thread."""

from __future__ import annotations

from typing import Protocol

from slipway.core.pending import Pending


class Scheduler(Protocol):
    """Decides when and with whom a request is executed, and counts it in the model's statistics."""

    def submit(self, pending: Pending) -> None:
        """Take the request; every answer goes through `pending`. Raise `SlipwayError` when it is refused at once."""

    async def drain(self) -> None:
        """Refuse new requests and return when every accepted one is answered."""
