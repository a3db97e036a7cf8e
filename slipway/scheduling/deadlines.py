"""The times at which things of any kind time out, in order. Pure: times are integers on the caller's clock."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

Thing = TypeVar("Thing", bound=Hashable)

_SLACK: Final = 64  # outdated entries that are never worth removing


class Deadlines(Generic[Thing]):
    """One deadline per thing. A deadline only moves forward, and may be forgotten at any time."""

    def __init__(self) -> None:
        self._current: dict[Thing, int] = {}
        self._heap: list[tuple[int, int, Thing]] = []  # with a serial number: things have no order
        self._serial = 0

    def set(self, thing: Thing, deadline: int) -> None:
        """Let `thing` time out at `deadline`, unless it does earlier."""
        before = self._current.get(thing)
        if before is not None and before <= deadline:
            return
        self._current[thing] = deadline
        self._serial += 1
        heapq.heappush(self._heap, (deadline, self._serial, thing))

    def forget(self, thing: Thing) -> None:
        """Let `thing` never time out."""
        if self._current.pop(thing, None) is not None and len(self._heap) > 2 * len(self._current) + _SLACK:
            self._heap = [entry for entry in self._heap if self._current.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def expire(self, now: int) -> list[Thing]:
        """Forget and return what has timed out at `now`, earliest first."""
        expired = []
        while self._heap and self._heap[0][0] <= now:
            deadline, _, thing = heapq.heappop(self._heap)
            if self._current.get(thing) == deadline:
                del self._current[thing]
                expired.append(thing)
        return expired

    def nearest(self) -> int | None:
        """Return the earliest deadline."""
        while self._heap and self._current.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def __len__(self) -> int:
        return len(self._current)
