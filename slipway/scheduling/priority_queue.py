"""The request queue of a model with priority levels. There may be 2^64 - 1 of them, so only those in use exist.

Pure, like `queue.py`, whose queue is for models without levels. Source: Triton `ModelDynamicBatching.priority_levels`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

from slipway.scheduling.queue import Item, PriorityLevel, QueuePolicy, RequestQueue


class PriorityQueue(RequestQueue[Item]):
    """A queue of `count` levels, the first one most urgent. `own` holds the policies of levels that do not have the
    `default` one. A priority of 0 or beyond the last level means `default_level`."""

    __slots__ = ("_count", "_default", "_own", "_rank_of", "_ranks")

    def __init__(self, count: int, default: QueuePolicy, own: Mapping[int, QueuePolicy], default_level: int) -> None:
        super().__init__((), default_level)
        self._count = count
        self._default = default
        self._own = own
        self._ranks: list[int] = []  # of the levels that exist, ascending, in the order of `_levels`
        self._rank_of: dict[Item, int] = {}

    def push(self, item: Item, now: int, *, priority: int = 0, timeout: int = 0) -> None:
        """Append `item` to its level; raise `QueueFullError` if the level is full."""
        rank = priority if 0 < priority <= self._count else self._default_level
        index = bisect_left(self._ranks, rank)
        if index == len(self._ranks) or self._ranks[index] != rank:
            self._ranks.insert(index, rank)
            self._levels.insert(index, PriorityLevel(self._own.get(rank, self._default)))
        self._levels[index].push(item, now, timeout)
        self._rank_of[item] = rank

    def remove(self, item: Item) -> bool:
        """Remove `item` from its level; return whether it was queued."""
        rank = self._rank_of.pop(item, None)
        if rank is None:
            return False
        level = self._levels[bisect_left(self._ranks, rank)]
        (level.waiting if item in level.waiting else level.delayed).pop(item)
        self._drop(rank)
        return True

    def expire(self, now: int) -> list[Item]:
        """Apply the timeouts: move expired items to the end of their level, or remove and return them."""
        expired = super().expire(now)
        for item in expired:
            self._drop(self._rank_of.pop(item))
        return expired

    def _drop(self, rank: int) -> None:
        """Forget a level that is empty."""
        index = bisect_left(self._ranks, rank)
        if index < len(self._ranks) and self._ranks[index] == rank and not len(self._levels[index]):
            del self._ranks[index], self._levels[index]
