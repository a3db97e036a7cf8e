"""The bytes of responses that wait in a stream until its client has room for them."""

from __future__ import annotations

from slipway.core.large_work import LARGE
from slipway.errors import SlipwayError
from slipway.rpc.in_flight import InFlight


class Unread:
    """`size` bytes wait. What is above `LARGE` counts in the budget of all connections; `is_too_much` says that the
    budget does not have it."""

    __slots__ = ("_held", "_in_flight", "_is_over", "is_too_much", "size")

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self._held = 0  # bytes of the budget
        self._is_over = False
        self.size = 0
        self.is_too_much = False

    def change(self, size: int) -> None:
        """Count `size` bytes more; less if it is negative."""
        self.size += size
        if self._is_over:
            return
        wanted = max(0, self.size - LARGE)
        if wanted > self._held:
            try:
                self._in_flight.hold(wanted - self._held)
            except SlipwayError:
                self.is_too_much = True
                return
        elif wanted < self._held:
            self._in_flight.release(self._held - wanted)
        self._held = wanted
        self.is_too_much = False

    def close(self) -> None:
        """Give everything back to the budget, and take no more."""
        self._in_flight.release(self._held)
        self._held = 0
        self._is_over = True
        self.is_too_much = False
