"""Decides which waiting requests are executed together, and when.

Pure: times are integers on the caller's clock; nothing here waits, executes or knows an event loop. `poll` is called
whenever an instance is free. Source: Triton `dynamic_batch_scheduler.cc` (GetDynamicBatch), batcher.md.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from slipway.scheduling.queue import RequestQueue


class Batchable(Hashable, Protocol):
    """An item that may be batched: `rows` count towards the batch size; only items with equal keys merge."""

    rows: int

    @property
    def merge_key(self) -> object:
        """A value that is equal for all items of a batch."""


Item = TypeVar("Item", bound=Batchable)


@dataclass(frozen=True, slots=True)
class Dispatch(Generic[Item]):
    """Execute these items now, as one batch."""

    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Nothing to do before `time`, unless an item comes or goes."""

    time: int


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing waits."""


IDLE = Idle()


@dataclass(frozen=True, slots=True)
class BatchRules:
    """Maximum rows per batch, preferred sizes (empty: `max_rows`), and how long the oldest item waits for others."""

    max_rows: int
    preferred_rows: frozenset[int] = frozenset()
    max_delay: int = 0


class Batcher(Generic[Item]):
    """Dynamic batching over a `RequestQueue`: a batch is taken from its head."""

    def __init__(self, rules: BatchRules, queue: RequestQueue[Item]) -> None:
        self._max_rows = rules.max_rows
        self._max_delay = rules.max_delay
        self._preferred = rules.preferred_rows or frozenset((rules.max_rows,))
        self._largest_preferred = max(self._preferred)
        self._queue = queue
        self.immediate = rules.max_delay == 0  # a lone item on a free instance never waits

    def push(self, item: Item, now: int, *, priority: int = 0, timeout: int = 0) -> None:
        """Queue `item`; raise `QueueFullError` if its level is full."""
        self._queue.push(item, now, priority=priority, timeout=timeout)

    def remove(self, item: Item) -> bool:
        """Remove a cancelled item; return whether it was waiting."""
        return self._queue.remove(item)

    def expire(self, now: int) -> list[Item]:
        """Remove and return the items that have timed out."""
        return self._queue.expire(now)

    def next_deadline(self) -> int | None:
        """Return when `expire` should be called next."""
        return self._queue.next_deadline()

    def __len__(self) -> int:
        return len(self._queue)

    def poll(self, now: int) -> Dispatch[Item] | WaitUntil | Idle:
        """Return what to do with one free instance at `now`; call `expire(now)` first."""
        items, rows, preferred, oldest, complete = self._candidates()
        if not items:
            return IDLE
        overdue = self._max_delay > 0 and now >= oldest + self._max_delay
        if preferred and not overdue:
            return self._dispatch(items[:preferred])
        if complete or overdue or self._max_delay == 0 or rows >= self._largest_preferred:
            return self._dispatch(items)
        deadline = self._queue.next_deadline()
        delayed_until = oldest + self._max_delay
        return WaitUntil(delayed_until if deadline is None else min(delayed_until, deadline))

    def _candidates(self) -> tuple[list[Item], int, int, int, bool]:
        """Return the largest batch at the head of the queue, its rows, how many of its items make the best preferred
        size (0: none), the arrival time of its oldest item, and whether nothing more can join it."""
        items: list[Item] = []
        rows = preferred = oldest = 0
        for item, enqueued in self._queue.entries():
            size = item.rows or 1  # an empty request counts as one row, otherwise a batch of them could grow for ever
            if items:
                if rows + size > self._largest_preferred and not preferred:
                    preferred = len(items)
                if rows + size > self._max_rows or item.merge_key != items[0].merge_key:
                    return items, rows, preferred, oldest, True
                oldest = min(oldest, enqueued)
            else:
                oldest = enqueued
            items.append(item)
            rows += size
            if rows in self._preferred:
                preferred = len(items)
        return items, rows, preferred, oldest, False

    def _dispatch(self, items: list[Item]) -> Dispatch[Item]:
        for item in items:
            self._queue.remove(item)
        return Dispatch(items)


class Fifo(Generic[Item]):
    """The default scheduler's queue: no batching, one item at a time in order of arrival, regardless of priority."""

    immediate = True

    def __init__(self) -> None:
        self._waiting: OrderedDict[Item, None] = OrderedDict()

    def push(self, item: Item, now: int, *, priority: int = 0, timeout: int = 0) -> None:  # noqa: ARG002  as Batcher
        """Queue `item`."""
        self._waiting[item] = None

    def remove(self, item: Item) -> bool:
        """Remove a cancelled item; return whether it was waiting."""
        return self._waiting.pop(item, self) is None

    def expire(self, now: int) -> list[Item]:  # noqa: ARG002  as Batcher
        """Return an empty list: there are no timeouts."""
        return []

    def next_deadline(self) -> int | None:
        """Return None: there are no timeouts."""
        return None

    def __len__(self) -> int:
        return len(self._waiting)

    def poll(self, now: int) -> Dispatch[Item] | WaitUntil | Idle:  # noqa: ARG002  as Batcher
        """Return the oldest item."""
        return Dispatch((self._waiting.popitem(last=False)[0],)) if self._waiting else IDLE
