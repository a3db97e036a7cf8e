"""What one group of attacks may spend: time, bytes and connections."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

MIB: Final = 1 << 20
CONNECTIONS: Final = 200
_RESPONSE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of each group, and what its neighbours' patience is."""

    seconds: float = 20.0
    mebibytes: int = 256  # sent
    patience_ms: float = 1000.0  # a health check on another connection may take

    @property
    def response_s(self) -> float:
        """The seconds that a single response may take."""
        return min(_RESPONSE_S, self.seconds / 2)


class BytesSpentError(Exception):
    """A group has sent as many bytes as it may."""


class Allowance:
    """What is left of a group's bytes and connections."""

    def __init__(self, bounds: Bounds) -> None:
        self.sent = 0
        self._most = bounds.mebibytes * MIB
        self.connections = asyncio.Semaphore(CONNECTIONS)

    def spend(self, size: int) -> None:
        """Count bytes that are about to be sent; raise `BytesSpentError` if they are too many."""
        if self.sent + size > self._most:
            raise BytesSpentError
        self.sent += size
