"""Holds a model's requests back until a number of them wait: for tests that need the same batches in every run.

Pure. See `config/scheduler_delays.py`.
"""

from __future__ import annotations

from slipway.core.pending import Pending
from slipway.scheduling.batcher import IDLE, Dispatch, Idle, WaitUntil
from slipway.scheduling.driver import WaitingLine


class DelayedLine:
    """A waiting line that is passed on once it has had `requests` requests. Implements `driver.WaitingLine`."""

    def __init__(self, line: WaitingLine, requests: int) -> None:
        self._line = line
        self._requests = requests
        self.immediate = False

    def push(self, item: Pending, now: int, *, priority: int = 0, timeout: int = 0) -> None:
        """Queue a request; raise `QueueFullError` if the queue is full."""
        self._line.push(item, now, priority=priority, timeout=timeout)

    def remove(self, item: Pending) -> bool:
        """Remove a request; return whether it was waiting."""
        return self._line.remove(item)

    def expire(self, now: int) -> list[Pending]:
        """Remove and return the requests that have timed out."""
        return self._line.expire(now)

    def next_deadline(self) -> int | None:
        """Return when to call `expire`."""
        return self._line.next_deadline()

    def __len__(self) -> int:
        return len(self._line)

    def poll(self, now: int) -> Dispatch[Pending] | WaitUntil | Idle:
        """Return what to do with a free instance; nothing before there are enough requests."""
        if len(self._line) < self._requests:
            deadline = self._line.next_deadline()
            return IDLE if deadline is None else WaitUntil(deadline)
        self._requests = 0
        self.immediate = self._line.immediate
        return self._line.poll(now)
