"""Decides which instances may execute, so that no resource is used more often than it exists.

Pure: no clock, no event loop, no batches. An instance that has work is staged; `poll` returns the next that may run.

**Order.** Triton runs the instance with the smallest product of executions and priority. Here every staged instance has
that number too: it rises by the instance's priority with each execution. But an instance that was idle or has just been
loaded does not bring the executions it has missed: it starts at the number that its resources have reached (start-time
fair queueing: Goyal, Vin and Cheng 1996). Else it would keep the others from running until it had caught up.

**No deadlock, no starvation.** An instance takes all its resources at once and needs no others to finish. One that has
to wait reserves what it needs: those behind it run if they can without delaying it. While an instance of priority p
waits, another one of priority q that shares a resource with it begins at most ceil(p / q) + 1 times.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from enum import Enum, auto
from typing import Final

from slipway.config.rate_limit import Claim, ResourceKey
from slipway.scheduling.resources import Resources


class PermitState(Enum):
    """Where an instance is between two executions."""

    IDLE = auto()
    STAGED = auto()  # waits for its resources
    GRANTED = auto()  # holds them


class Permit:
    """The right of one instance to execute. `claim` never changes; the rest belongs to the limiter."""

    __slots__ = ("claim", "finish", "start", "state", "ticket")

    def __init__(self, claim: Claim) -> None:
        self.claim: Final = claim
        self.state = PermitState.IDLE
        self.start = 0  # its number in the order, once staged
        self.finish = 0  # the number at which it may run again
        self.ticket = 0  # among equal numbers, the first staged is first


def _place(permit: Permit) -> tuple[int, int]:
    return permit.start, permit.ticket


class RateLimiter:
    """The resources of a server and the instances that share them."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.used: dict[ResourceKey, int] = {}
        self._reached: dict[ResourceKey, int] = {}  # the highest number that a resource has been granted to
        self._staged: list[Permit] = []  # in order
        self._tickets = 0
        self._permits: set[Permit] = set()

    def add(self, claims: Sequence[Claim]) -> list[Permit]:
        """Admit the instances of a model. Raise INVALID_ARG if one of them could never run."""
        self.resources.add(claims)
        permits = [Permit(claim) for claim in claims]
        self._permits.update(permits)
        return permits

    def remove(self, permits: Iterable[Permit]) -> None:
        """Forget instances; what they hold is free again. Harmless for those that are forgotten already."""
        gone = [permit for permit in permits if permit in self._permits]
        self._permits.difference_update(gone)
        for permit in gone:
            self.withdraw(permit)
            self.release(permit, executed=False)
        self.resources.remove([permit.claim for permit in gone])
        for key in self._reached.keys() - self.resources.totals.keys():
            del self._reached[key]
            self.used.pop(key, None)

    def stage(self, permit: Permit) -> None:
        """Let an idle instance wait for its turn."""
        if permit.state is not PermitState.IDLE:
            return
        reached = max((self._reached.get(key, 0) for key, _ in permit.claim.taken), default=0)
        for key, _ in permit.claim.taken:
            self._reached[key] = reached  # those who come later for any of them are behind this one
        permit.start = max(permit.finish, reached)
        self._tickets += 1
        permit.ticket = self._tickets
        permit.state = PermitState.STAGED
        insort(self._staged, permit, key=_place)

    def withdraw(self, permit: Permit) -> None:
        """Let a staged instance wait no longer."""
        if permit.state is PermitState.STAGED:
            del self._staged[bisect_left(self._staged, _place(permit), key=_place)]
            permit.state = PermitState.IDLE

    def poll(self) -> Permit | None:
        """Give the next instance that may run its resources, and return it; None if all have to wait."""
        reserved: dict[ResourceKey, int] = {}
        totals, used = self.resources.totals, self.used
        for index, permit in enumerate(self._staged):
            taken = permit.claim.taken
            if all(totals[key] - used.get(key, 0) - reserved.get(key, 0) >= count for key, count in taken):
                del self._staged[index]
                permit.state = PermitState.GRANTED
                for key, count in taken:
                    used[key] = used.get(key, 0) + count
                    self._reached[key] = max(self._reached[key], permit.start)
                return permit
            for key, count in taken:
                reserved[key] = reserved.get(key, 0) + count
        return None

    def release(self, permit: Permit, *, executed: bool = True) -> None:
        """Take the resources back, after an execution or because there was nothing to execute."""
        if permit.state is not PermitState.GRANTED:
            return
        for key, count in permit.claim.taken:
            self.used[key] -= count
        if executed:
            permit.finish = permit.start + permit.claim.priority
        permit.state = PermitState.IDLE
