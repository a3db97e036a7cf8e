"""The direct strategy: decides when an instance executes, and with which of the requests that wait in its slots.

Pure: times are integers on the caller's clock. A sequence keeps its row of every batch, so a batch has a row for each
slot up to the last one that takes part, and a placeholder in every slot that does not. An item whose merge key differs
from that of the oldest item waits for the next batch.

Source: Triton `sequence_batch_scheduler.cc` (DirectSequenceBatch). There the item in the lowest slot decides which
shapes may take part, and a sequence with other shapes can wait for ever; here it is the one that has waited longest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from slipway.scheduling.batcher import IDLE, Batchable, Dispatch, Idle, WaitUntil

Item = TypeVar("Item", bound=Batchable)


@dataclass(frozen=True, slots=True)
class SlotRules:
    """The number of slots, and how long the oldest item waits until a share of them has one (0: it does not wait)."""

    slots: int
    minimum_utilization: float = 0.0
    max_delay: int = 0


class SlotBatcher(Generic[Item]):
    """The items that wait in the slots of one instance, one per slot. Implements `driver.WaitingLine`.

    `slot_of` returns an item's slot, `placeholders` so many items for empty slots, in the likeness of the given one.
    """

    immediate = False  # an item in slot 2 is the third row of its batch, even if it is alone

    def __init__(
        self,
        rules: SlotRules,
        slot_of: Callable[[Item], int],
        placeholders: Callable[[Item, int], Iterable[Item]],
    ) -> None:
        self._rules = rules
        self._waits = rules.max_delay > 0 and rules.minimum_utilization > 0
        self._slot_of = slot_of
        self._placeholders = placeholders
        self._waiting: dict[Item, tuple[int, int]] = {}  # slot, when it came; in order of arrival

    def push(self, item: Item, now: int, *, priority: int = 0, timeout: int = 0) -> None:  # noqa: ARG002  as Batcher
        """Put `item` into its slot."""
        self._waiting[item] = (self._slot_of(item), now)

    def remove(self, item: Item) -> bool:
        """Remove a cancelled item; return whether it was waiting."""
        return self._waiting.pop(item, None) is not None

    def expire(self, now: int) -> list[Item]:  # noqa: ARG002  as Batcher
        """Return an empty list: an item that has a slot does not time out."""
        return []

    def next_deadline(self) -> int | None:
        """Return None: there are no timeouts."""
        return None

    def __len__(self) -> int:
        return len(self._waiting)

    def poll(self, now: int) -> Dispatch[Item] | WaitUntil | Idle:
        """Return what to do with the instance, which is free, at `now`."""
        if not self._waiting:
            return IDLE
        oldest, (_, since) = next(iter(self._waiting.items()))
        if self._waits and len(self._waiting) < self._rules.minimum_utilization * self._rules.slots:
            due = since + self._rules.max_delay
            if now < due:
                return WaitUntil(due)
        key = oldest.merge_key
        rows = {slot: item for item, (slot, _) in self._waiting.items() if item.merge_key == key}
        for item in rows.values():
            del self._waiting[item]
        size = max(rows) + 1
        if len(rows) < size:
            empty = [slot for slot in range(size) if slot not in rows]
            rows.update(zip(empty, self._placeholders(oldest, len(empty)), strict=True))
        return Dispatch([rows[slot] for slot in range(size)])
