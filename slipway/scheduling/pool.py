"""The execution slots of one model version: which are free, and which batch each is working on.

Knows neither the order nor the grouping of requests; `freed` is called after each execution, when its answers are out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from slipway.core.pending import Pending
from slipway.instances.api import Instance, Outcome
from slipway.scheduling.completion import Completion


class Slot:
    """One batch at a time on one instance; a pipelined instance of depth 2 has two slots."""

    __slots__ = ("_batch", "_finished", "_instance", "_pool")

    def __init__(self, pool: InstancePool, instance: Instance) -> None:
        self._pool = pool
        self._instance = instance
        self._batch: Sequence[Pending] = ()
        self._finished = self.finished  # bound once

    def start(self, batch: Sequence[Pending]) -> None:
        """Execute `batch`; the slot is free again when its execution ends, possibly before this returns."""
        self._batch = batch
        self._instance.start(batch, self._finished)

    def finished(self, outcome: Outcome) -> None:
        """Take the end of the execution: free the slot, then deliver the answers."""
        batch, self._batch = self._batch, ()
        pool = self._pool
        pool.free.append(self)
        pool.completion.finish(batch, outcome)
        pool.freed()


class InstancePool:
    """All slots of a model version; `free` are those without a batch, the one used last at the end.

    `pipelined` gives an instance as many slots as it is deep, one otherwise.
    """

    def __init__(
        self, instances: Sequence[Instance], completion: Completion, freed: Callable[[], None], *, pipelined: bool
    ) -> None:
        self.completion = completion
        self.freed = freed
        self.free = [Slot(self, instance) for instance in instances for _ in range(instance.depth if pipelined else 1)]
        self._size = len(self.free)

    def take(self) -> Slot:
        """Return a free slot; one used lately, whose memory is warm."""
        return self.free.pop()

    @property
    def busy(self) -> int:
        """Return how many batches are being executed."""
        return self._size - len(self.free)
