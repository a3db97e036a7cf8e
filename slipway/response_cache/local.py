"""The cache in this process: bounded by bytes, the least recently used response leaves first. Pure."""

from __future__ import annotations

from collections import OrderedDict

from slipway.response_cache.api import CacheReport, CacheStatistics
from slipway.response_cache.stored import StoredResponse


class LocalCache:
    """Keeps up to `size` bytes of responses. Implements `response_cache.api.ResponseCache`."""

    def __init__(self, size: int) -> None:
        self.statistics = CacheStatistics()
        self.limit = size
        self._entries: OrderedDict[bytes, StoredResponse] = OrderedDict()  # least recently used first
        self._used = 0

    def lookup(self, key: bytes) -> StoredResponse | None:
        """Return the response under `key`, which is now the most recently used one."""
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def insert(self, key: bytes, response: StoredResponse) -> None:
        """Keep a response in place of the least recently used ones, as many as it needs."""
        before = self._entries.pop(key, None)
        if before is not None:
            self._used -= before.size
        while self._entries and self._used + response.size > self.limit:
            _, evicted = self._entries.popitem(last=False)
            self._used -= evicted.size
            self.statistics.evictions += 1
        self._entries[key] = response
        self._used += response.size

    def report(self) -> CacheReport:
        """Return the number of responses and the share of the memory that they take."""
        return CacheReport(self.statistics, len(self._entries), self._used / self.limit)

    async def close(self) -> None:
        """Drop every response."""
        self._entries.clear()
        self._used = 0
