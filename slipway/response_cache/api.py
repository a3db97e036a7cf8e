"""The interface between the schedulers and a response cache, and what a cache counts.

All methods are called on the event-loop thread and return at once. Knows neither models nor requests: a key is bytes.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Protocol

from slipway.response_cache.stored import StoredResponse


@dataclass(slots=True)
class CacheStatistics:
    """Everything counted for one cache, since the start of the server."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    failures: int = 0  # look-ups and insertions that the cache could not do
    lookup_ns: int = 0
    insertion_ns: int = 0

    def record_lookup(self, ns: int, *, hit: bool) -> None:
        """Count a look-up that took `ns` nanoseconds."""
        self.lookup_ns += ns
        if hit:
            self.hits += 1
        else:
            self.misses += 1


@dataclass(frozen=True, slots=True)
class CacheReport:
    """The state of a cache for the metrics; `entries` and `utilization` (0 to 1) are None if only its server knows."""

    statistics: CacheStatistics = field(default_factory=CacheStatistics)
    entries: int | None = None
    utilization: float | None = None


class ResponseCache(Protocol):
    """Keeps responses by key. Faults are logged and counted here; a caller sees a miss."""

    statistics: CacheStatistics
    limit: int  # the size in bytes of the largest response that fits

    def lookup(self, key: bytes) -> StoredResponse | Awaitable[StoredResponse | None] | None:
        """Return the response under `key`, None if there is none, or an awaitable of either if it takes time."""

    def insert(self, key: bytes, response: StoredResponse) -> None:
        """Keep a response of at most `limit` bytes, perhaps later than this returns."""

    def report(self) -> CacheReport:
        """Return the state for the metrics."""

    async def close(self) -> None:
        """Release what the cache holds; no method may be called afterwards."""
