"""The execution slots of one model version: which are free, and which batch each is working on.

Knows neither the order nor the grouping of requests; `freed` is called after each execution, when its answers are out.

A pipelined instance is handed several batches at once, so that it finds its next work without waiting for the event
loop: worth it where an execution is shorter than a wake-up (model.py in a thread: 66 against 27 us a request). While
executions take longer, it gets one at a time: what waits is then still in the queue, where it can be cancelled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from slipway.backends.instance_api import Instance, Outcome
from slipway.core.pending import Pending
from slipway.scheduling.completion import Completion

# Quick executions earn a point, slow ones lose many: a busy machine makes some of a quick model's look slow.
_QUICK_NS: Final = 500_000
_ENOUGH: Final = 64
_MOST: Final = 128
_LOST: Final = 32


class InstanceSlot:
    """One batch at a time on one instance."""

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
        pool.put_back(self, outcome.timing.output_start - outcome.timing.start)
        pool.completion.finish(batch, outcome)
        pool.freed()


class InstancePool:
    """All slots of a model version; `free` are those that may take a batch, the one used last at the end.

    Each instance has one slot; `pipelined` adds as many as it is deep while its executions are quick.
    """

    def __init__(
        self, instances: Sequence[Instance], completion: Completion, freed: Callable[[], None], *, pipelined: bool
    ) -> None:
        self.completion = completion
        self.freed = freed
        self.busy = 0  # batches in execution
        self.free = [InstanceSlot(self, instance) for instance in instances]
        deeper = [instance for instance in instances for _ in range(instance.depth - 1)] if pipelined else []
        self._spare = [InstanceSlot(self, instance) for instance in deeper]
        self._extra = 0  # spare slots in use
        self._points = 0

    def take(self) -> InstanceSlot:
        """Return a free slot; one used lately, whose memory is warm."""
        self.busy += 1
        return self.free.pop()

    def put_back(self, slot: InstanceSlot, duration_ns: int) -> None:
        """Take a slot back after an execution of `duration_ns`."""
        self.busy -= 1
        self.free.append(slot)
        if duration_ns < _QUICK_NS:
            if self._points < _MOST:
                self._points += 1
                if self._points == _ENOUGH:
                    self._extra += len(self._spare)
                    self.free[:0] = self._spare
                    self._spare.clear()
            return
        self._points = max(self._points - _LOST, 0)
        while self._points < _ENOUGH and self._extra and self.free:
            self._extra -= 1
            self._spare.append(self.free.pop())
