"""One budget for the requests and responses of all connections: taken as they arrive or are made, returned when they
are answered and sent."""

from __future__ import annotations

from typing import Final

from slipway.machine import free_address_space, read_memory

TOO_MUCH_HELD: Final = "the server holds as many requests as its memory allows; try again later"
SHARE: Final = 4  # a request may take four times its size while it is decoded and answered
_UNKNOWN: Final = 1 << 30  # bytes, where the system does not say how much memory there is


def default_budget() -> int:
    """Return a quarter of the memory that this process may use, in bytes."""
    memory, addresses = read_memory(), free_address_space()
    total = _UNKNOWN * SHARE if memory is None else memory.total
    return (total if addresses is None else min(total, addresses)) // SHARE


class Budget:
    """Counts the bytes that are held; event-loop thread only."""

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def take(self, size: int) -> bool:
        """Count `size` bytes more and return True; return False if that exceeds the limit."""
        if self.held + size > self.limit:
            return False
        self.held += size
        return True

    def give_back(self, size: int) -> None:
        """Count `size` bytes less."""
        self.held -= size
