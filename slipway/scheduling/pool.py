"""The execution slots of one model version: which are free, and which batch each is working on.

Knows neither the order nor the grouping of requests; `freed` is called after each execution, when its answers are out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from slipway.core.pending import Pending
from slipway.instances.api import Instance, Outcome
from slipway.scheduling.completion import Completion


class Slot:
    """One batch at a time on one instance; an instance of depth 2 has two slots."""

    __slots__ = ("_batch", "_finished", "_lane", "_pool")

    def __init__(self, pool: InstancePool, lane: Lane) -> None:
        self._pool = pool
        self._lane = lane
        self._batch: Sequence[Pending] = ()
        self._finished = self.finished  # bound once

    @property
    def load(self) -> int:
        """Return how many batches the slot's instance is working on."""
        return self._lane.load

    def start(self, batch: Sequence[Pending]) -> None:
        """Execute `batch`; the slot is free again when its execution ends, possibly before this returns."""
        self._batch = batch
        self._lane.load += 1
        self._lane.instance.start(batch, self._finished)

    def finished(self, outcome: Outcome) -> None:
        """Take the end of the execution: free the slot, then deliver the answers."""
        batch, self._batch = self._batch, ()
        self._lane.load -= 1
        pool = self._pool
        pool.free.append(self)
        pool.completion.finish(batch, outcome)
        pool.freed()


class Lane:
    """An instance and the number of batches on it."""

    __slots__ = ("instance", "load")

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.load = 0


class InstancePool:
    """All slots of a model version; `free` are those without a batch, the one used last at the end."""

    def __init__(self, instances: Sequence[Instance], completion: Completion, freed: Callable[[], None]) -> None:
        self.completion = completion
        self.freed = freed
        lanes = [Lane(instance) for instance in instances]
        self.free = [Slot(self, lane) for lane in lanes for _ in range(lane.instance.depth)]
        self._size = len(self.free)
        self._deep = any(instance.depth > 1 for instance in instances)

    def take(self) -> Slot:
        """Return a free slot, on the instance with the least to do; one used lately, whose memory is warm."""
        if not self._deep:
            return self.free.pop()
        slot = min(reversed(self.free), key=lambda free: free.load)
        self.free.remove(slot)
        return slot

    @property
    def busy(self) -> int:
        """Return how many batches are being executed."""
        return self._size - len(self.free)
