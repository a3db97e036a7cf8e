"""The execution slots of one model version: which are free, and which batch each is executing.

Does not know the order or grouping of requests; `freed` is called after each execution, once its responses are sent.

A pipelined instance gets several batches at once, so that it does not wait for the event loop between them. This pays
off if an execution is shorter than a wake-up (model.py in a thread: 27 instead of 66 us per request). While executions
take longer, the instance gets one batch at a time: waiting requests then stay in the queue, where they can be
cancelled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from slipway.backends.instance_api import Instance, Outcome
from slipway.core.explanation import Explanation, Wait
from slipway.core.pending import Pending
from slipway.scheduling.completion import Completion
from slipway.scheduling.explained import ExplainedQueue

# A quick execution earns a point, a slow one loses many: a busy machine slows down some executions of a quick model.
_QUICK_NS: Final = 500_000
_ENOUGH: Final = 64
_MOST: Final = 128
_LOST: Final = 32


class InstanceSlot:
    """Executes one batch at a time on one instance."""

    __slots__ = ("_batch", "_finished", "_instance", "_pool")

    def __init__(self, pool: InstancePool, instance: Instance) -> None:
        self._pool = pool
        self._instance = instance
        self._batch: Sequence[Pending] = ()
        self._finished = self.finished  # bound once

    def start(self, batch: Sequence[Pending]) -> None:
        """Execute `batch`; the slot is free again when its execution ends, possibly before this returns."""
        self._batch = batch
        if self._pool.explained is not None:
            self._pool.note_begin(batch, self._instance.name)
        self._instance.start(batch, self._finished)

    def finished(self, outcome: Outcome) -> None:
        """Handle the end of the execution: free the slot, then deliver the responses."""
        batch, self._batch = self._batch, ()
        pool = self._pool
        pool.put_back(self, outcome.timing.output_start - outcome.timing.start)
        pool.completion.finish(batch, outcome)
        pool.freed()


class InstancePool:
    """All slots of a model version; `free` are those that may take a batch, with the last used at the end.

    Each instance has one slot; with `pipelined` it has `depth` slots while its executions are quick.
    """

    def __init__(
        self, instances: Sequence[Instance], completion: Completion, freed: Callable[[], None], *, pipelined: bool
    ) -> None:
        self.completion = completion
        self.freed = freed
        self.busy = 0  # batches in execution
        self.explained: ExplainedQueue | None = None  # while it has requests
        self.free = [InstanceSlot(self, instance) for instance in instances]
        deeper = [instance for instance in instances for _ in range(instance.depth - 1)] if pipelined else []
        self._spare = [InstanceSlot(self, instance) for instance in deeper]
        self._extra = 0  # spare slots in use
        self._points = 0

    @property
    def shortage(self) -> Wait:
        """What a request waits for if no slot is free."""
        return Wait.INSTANCE

    @property
    def is_quick(self) -> bool:
        """Whether executions have been quick for a while."""
        return self._points >= _ENOUGH

    def explain(self, explanation: Explanation) -> None:
        """Follow a request that asks to be explained until it begins to execute."""
        if self.explained is None:
            self.explained = ExplainedQueue()
        self.explained.add(explanation)

    def forget(self, explanation: Explanation | None) -> None:
        """Follow a request no more that will not execute, if it asks to be explained."""
        if self.explained is not None and explanation is not None:
            self.explained.forget(explanation)
            self._end_queue(self.explained)

    def note_wait(self) -> None:
        """Note what the requests that ask to be explained wait for now."""
        if self.explained is not None:
            self.explained.wait(Wait.BATCH if self.free else self.shortage)

    def note_begin(self, batch: Sequence[Pending], instance: str) -> None:
        """Note that `batch` begins to execute, for those of its requests that ask to be explained."""
        if self.explained is not None:
            self.explained.begin(batch, instance, self.completion.padding)
            self._end_queue(self.explained)

    def _end_queue(self, explained: ExplainedQueue) -> None:
        if explained.is_empty:
            self.explained = None

    def take(self) -> InstanceSlot:
        """Return the free slot used last, because its memory is warm."""
        self.busy += 1
        return self.free.pop()

    def put_back(self, slot: InstanceSlot, duration_ns: int) -> None:
        """Return a slot to the pool after an execution of `duration_ns`."""
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
