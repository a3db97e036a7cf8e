"""One budget for the request bodies of all connections: taken as they arrive, returned when they are answered."""

from __future__ import annotations

from typing import Final

from slipway.machine import read_memory

_SHARE: Final = 4  # a request may take four times its size while it is decoded and answered
_UNKNOWN: Final = 1 << 30  # bytes, where the system does not say how much memory there is


def default_budget() -> int:
    """Return a quarter of the memory that this process may use, in bytes."""
    memory = read_memory()
    return _UNKNOWN if memory is None else memory.total // _SHARE


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
