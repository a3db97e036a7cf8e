"""`max_inflight_requests` of an ensemble: how many requests each of its steps may have in flight at a time.

The limit of a step counts over all requests to the ensemble, as in Triton (`StepInflightRequestLimiter` of
ensemble_scheduler.cc), which lets the thread wait that brings the next request; here the request waits in line. Runs on
the event-loop thread.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Protocol


class Waiting(Protocol):
    """A request to a step that waits for its turn."""

    def begin(self) -> None:
        """Submit the request: a place is taken for it. May end before this returns."""


class StepLimits:
    """The places of each step, by its index; those who wait for one are served in the order of their arrival."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: dict[int, int] = defaultdict(int)
        self._waiting: dict[int, dict[Waiting, None]] = defaultdict(dict)
        self._serving: set[int] = set()

    def enter(self, step: int, request: Waiting) -> bool:
        """Take a place for `request` and return true, or let it wait for `begin`."""
        if self._taken[step] < self._most and not self._waiting[step]:
            self._taken[step] += 1
            return True
        self._waiting[step][request] = None
        return False

    def forget(self, step: int, request: Waiting) -> None:
        """Take back a request that waits; harmless for any other."""
        self._waiting[step].pop(request, None)

    def leave(self, step: int) -> None:
        """Free a place, and give it to the next in line."""
        self._taken[step] -= 1
        if step in self._serving:  # a request that began below ended at once: the loop goes on
            return
        self._serving.add(step)
        try:
            waiting = self._waiting[step]
            while waiting and self._taken[step] < self._most:
                request = next(iter(waiting))
                del waiting[request]
                self._taken[step] += 1
                request.begin()
        finally:
            self._serving.discard(step)
