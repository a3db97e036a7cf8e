"""The request queue of one model: priority levels, each with its own queue policy.

Pure: items are any distinct hashable values, times are integers on the caller's clock. Does not know batches,
instances or event loops. Source: Triton `ModelQueuePolicy`, batcher.md "Queue Policy", scheduler_utils.cc.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)


class QueueFullError(Exception):
    """The level's `max_queue_size` is reached."""


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """The limits of one priority level; 0 means no limit or no timeout."""

    max_queue_size: int = 0
    default_timeout: int = 0
    allow_timeout_override: bool = False
    delay_expired: bool = False  # timeout_action DELAY: an expired item waits after the others, else it is rejected

    def timeout(self, requested: int) -> int:
        """Return the timeout of an item that requests `requested`; as in Triton, a request may only shorten it."""
        if self.allow_timeout_override and 0 < requested < self.default_timeout:
            return requested
        return self.default_timeout


class PriorityLevel(Generic[Item]):
    """One priority level, first in first out. `nearest` is at or before the earliest deadline (0: no deadline)."""

    __slots__ = ("delayed", "nearest", "policy", "waiting")

    def __init__(self, policy: QueuePolicy) -> None:
        self.policy = policy
        self.waiting: OrderedDict[Item, tuple[int, int]] = OrderedDict()  # enqueued, deadline (0: none)
        self.delayed: OrderedDict[Item, tuple[int, int]] = OrderedDict()
        self.nearest = 0

    def __len__(self) -> int:
        return len(self.waiting) + len(self.delayed)

    def push(self, item: Item, now: int, requested_timeout: int) -> None:
        """Append an item; raise `QueueFullError` if the level is full."""
        limit = self.policy.max_queue_size
        if limit and len(self) >= limit:
            raise QueueFullError
        timeout = self.policy.timeout(requested_timeout)
        deadline = now + timeout if timeout else 0
        if deadline and (not self.nearest or deadline < self.nearest):
            self.nearest = deadline
        self.waiting[item] = (now, deadline)

    def expire(self, now: int) -> list[Item]:
        """Remove the items past their deadline; return those to reject."""
        if not self.nearest or now < self.nearest:
            return []
        ordered = not self.policy.allow_timeout_override  # then deadlines are in order of arrival
        expired: list[Item] = []
        self.nearest = 0
        for item, (_, deadline) in self.waiting.items():
            if deadline <= now:
                expired.append(item)
                continue
            self.nearest = min(self.nearest or deadline, deadline)
            if ordered:
                break
        for item in expired:
            place = self.waiting.pop(item)
            if self.policy.delay_expired:
                self.delayed[item] = place
        return [] if self.policy.delay_expired else expired


class RequestQueue(Generic[Item]):
    """Items in order of execution: by level, then by arrival, with delayed items last in their level.

    `policies` holds one policy per level, most urgent first; a priority of 0 or beyond the last level means
    `default_level` (both count from 1).
    """

    __slots__ = ("_default_level", "_levels")

    def __init__(self, policies: Sequence[QueuePolicy] = (QueuePolicy(),), default_level: int = 1) -> None:
        self._levels: list[PriorityLevel[Item]] = [PriorityLevel(policy) for policy in policies]
        self._default_level = default_level

    def push(self, item: Item, now: int, *, priority: int = 0, timeout: int = 0) -> None:
        """Append `item` to its level; raise `QueueFullError` if the level is full."""
        if not 0 < priority <= len(self._levels):
            priority = self._default_level
        self._levels[priority - 1].push(item, now, timeout)

    def remove(self, item: Item) -> bool:
        """Remove `item` from its level; return whether it was queued."""
        for level in self._levels:
            if level.waiting.pop(item, None) is not None or level.delayed.pop(item, None) is not None:
                return True
        return False

    def expire(self, now: int) -> list[Item]:
        """Apply the timeouts: move expired items to the end of their level, or remove and return them."""
        return [item for level in self._levels if level.nearest for item in level.expire(now)]

    def next_deadline(self) -> int | None:
        """Return when `expire` should be called next: a time at or before the earliest deadline, or None."""
        nearest = 0
        for level in self._levels:
            if level.nearest and (not nearest or level.nearest < nearest):
                nearest = level.nearest
        return nearest or None

    def tiers(self) -> Iterator[Iterable[tuple[Item, int]]]:
        """Yield groups of items of equal rank, each item with the time it was pushed: per level, the waiting items,
        then the delayed ones."""
        for level in self._levels:
            for part in (level.waiting, level.delayed):
                if part:
                    yield ((item, enqueued) for item, (enqueued, _) in part.items())

    def entries(self) -> Iterator[tuple[Item, int]]:
        """Yield each item with the time it was pushed, in execution order."""
        for level in self._levels:
            for part in (level.waiting, level.delayed):
                for item, (enqueued, _) in part.items():
                    yield item, enqueued

    def __len__(self) -> int:
        count = 0
        for level in self._levels:
            count += len(level.waiting) + len(level.delayed)
        return count
