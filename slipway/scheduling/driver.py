"""Carries out a batcher's decisions: feeds free instances, keeps one timer, responds to refused and cancelled requests.

Runs on the event-loop thread. `batcher.py` decides what to execute together and when; `completion.py` handles the
responses. If an instance is free and nothing waits, a request goes straight to it: no queue, no task, no future.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from slipway.backends.instance_api import Instance
from slipway.core.pending import Pending
from slipway.core.signature import ModelSignature
from slipway.core.statistics import ModelStatistics
from slipway.errors import FailureReason, SlipwayError, cancelled, unavailable
from slipway.scheduling.api import STOPPED, Drain
from slipway.scheduling.batcher import Dispatch, Idle, WaitUntil
from slipway.scheduling.completion import Completion
from slipway.scheduling.pool import InstancePool
from slipway.scheduling.queue import QueueFullError


class WaitingLine(Protocol):
    """A model's waiting requests, and the choice of which run next (`batcher.Batcher`, `batcher.Fifo`)."""

    immediate: bool

    def push(self, item: Pending, now: int, *, priority: int = 0, timeout: int = 0) -> None:
        """Queue a request; raise `QueueFullError` if the queue is full."""

    def remove(self, item: Pending) -> bool:
        """Remove a request; return whether it was waiting."""

    def expire(self, now: int) -> list[Pending]:
        """Remove and return the requests that have timed out."""

    def next_deadline(self) -> int | None:
        """Return when to call `expire`."""

    def poll(self, now: int) -> Dispatch[Pending] | WaitUntil | Idle:
        """Return what to do with a free instance."""

    def __len__(self) -> int: ...


class InstanceScheduler:
    """Schedules one model version on its instances. Implements `scheduling.api.Scheduler`.

    `key` returns a value that must be equal for all requests of a batch; None if any requests may be merged.
    """

    completion_type: type[Completion] = Completion

    def __init__(
        self,
        signature: ModelSignature,
        statistics: ModelStatistics,
        version: str,
        *,
        instances: Sequence[Instance],
        line: WaitingLine,
        key: Callable[[Pending], object] | None = None,
        pipelined: bool = False,
    ) -> None:
        self._statistics = statistics
        self._line = line
        self._key = key
        self._drain = Drain(self.is_idle)
        self._completion = self.completion_type(signature, statistics, version, self._drain.check)
        self._pool = InstancePool(instances, self._completion, self._freed, pipelined=pipelined)
        self._pumping = False  # true while requests are started: an inline instance finishes inside `start`
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0

    def submit(self, pending: Pending) -> None:
        """Execute the request now if an instance is free, else queue it. Raise UNAVAILABLE if it is refused."""
        if self._drain.closed:
            raise self._refused(pending, STOPPED, FailureReason.OTHER)
        pending.observe = self._completion.observe
        if pending.request.explanation is not None:
            self._pool.explain(pending.request.explanation)
        line = self._line
        if self._pumping or not self._pool.free or not line.immediate or line:
            self._enqueue(pending)
            return
        self._pumping = True
        try:
            self._pool.take().start((pending,))
        finally:
            self._pumping = False
        if line:
            self._pump()

    def is_idle(self) -> bool:
        """Return whether every accepted request is answered."""
        return not self._line and not self._pool.busy and not self._completion.unanswered

    async def drain(self) -> None:
        """Refuse new requests and wait until every accepted one is answered."""
        await self._drain.finish()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _enqueue(self, pending: Pending) -> None:
        request = pending.request
        if self._key is not None:
            pending.merge_key = self._key(pending)
        try:
            self._line.push(pending, time.monotonic_ns(), priority=request.priority, timeout=request.timeout_us * 1000)
        except QueueFullError:
            raise self._refused(pending, "Exceeds maximum queue size", FailureReason.REJECTED) from None
        pending.dequeue = self._cancelled
        self._statistics.pending += 1
        if request.explanation is not None and not self._pool.free:
            self._pool.note_wait()
        if not self._pumping:
            self._queued()

    def _queued(self) -> None:
        """Start what can start, after a request was queued."""
        if self._pool.free or self._line.next_deadline() is not None:
            self._pump()

    def _pump(self) -> None:
        """Start every request that can start. Loops instead of recursing: an instance may finish at once."""
        line, pool = self._line, self._pool
        wake: int | None = None
        self._pumping = True
        try:
            while line:
                now = time.monotonic_ns()
                for pending in line.expire(now):
                    self._leave(pending)
                    pool.forget(pending.request.explanation)
                    error = unavailable("Request timeout expired", reason=FailureReason.REJECTED)
                    self._completion.refuse(pending, error, now)
                wake = line.next_deadline()
                if not pool.free:
                    break
                decision = line.poll(now)
                if not isinstance(decision, Dispatch):
                    wake = decision.time if isinstance(decision, WaitUntil) else None
                    break
                for pending in decision.items:
                    self._leave(pending)
                pool.take().start(decision.items)
        finally:
            self._pumping = False
        if pool.explained is not None:
            pool.note_wait()
        if line and wake is not None:
            self._wake_at(wake)

    def _freed(self) -> None:
        if not self._pumping and self._line:
            self._pump()
        if self._drain.closed:
            self._drain.check()

    def _leave(self, pending: Pending) -> None:
        pending.dequeue = None
        self._statistics.pending -= 1

    def _cancelled(self, pending: Pending) -> None:
        if self._line.remove(pending):
            self._leave(pending)
            self._pool.forget(pending.request.explanation)
            self._completion.refuse(pending, cancelled(), time.monotonic_ns())
            self._drain.check()

    def _refused(self, pending: Pending, message: str, reason: FailureReason) -> SlipwayError:
        self._statistics.record_failure(time.monotonic_ns() - pending.arrival_ns, reason)
        self._pool.forget(pending.request.explanation)
        pending.observe = None  # it is not executed; whoever submitted it after a wait delivers this error
        return unavailable(pending.request.log_prefix + message, reason=reason)

    def _wake_at(self, when_ns: int) -> None:
        """Pump again at `when_ns`; if an earlier timer is set, it will set the next one itself."""
        if self._timer is not None:
            if self._timer_ns <= when_ns:
                return
            self._timer.cancel()
        self._timer_ns = when_ns
        delay = max(0, when_ns - time.monotonic_ns()) / 1e9
        self._timer = asyncio.get_running_loop().call_later(delay, self._woken)

    def _woken(self) -> None:
        self._timer = None
        self._pump()
        self._drain.check()
