"""Decides which sequence a request belongs to, which sequences have a place at an instance, and which wait for one.

Pure: times are integers on the caller's clock; nothing here executes or waits. A lane is an instance, a slot one of its
places for sequences.

**Runs.** The requests with an id from START to END are a run, a `SequenceRun`. It executes one request at a time, in
order. A START before the END goes on in the same place. A START after it begins the next run with that id, which waits
until the one before has ended: runs with one id never overlap.

**Places.** A run keeps its slot until its last request has executed. The slot then goes to the run that has waited
longest in the backlog. A run that has been without requests for `max_idle` ends. If one of its requests is cancelled,
the run ends there: that request and those behind it never execute.

Source: Triton `sequence_batch_scheduler.cc`. One difference: a run is not idle while its requests wait or execute.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from typing import Any, Generic, TypeVar

from slipway.scheduling.deadlines import Deadlines

Item = TypeVar("Item", bound=Hashable)


class NotStartedError(Exception):
    """The request does not start a sequence, and none with its id is open."""


class SequenceRun(Generic[Item]):
    """One run. `lane` is None while it has no slot; `carried` is what the driver keeps from one request to the next."""

    __slots__ = ("carried", "id", "is_over", "lane", "running", "slot", "waiting")

    def __init__(self, sequence_id: Hashable) -> None:
        self.id = sequence_id
        self.lane: int | None = None
        self.slot = 0
        self.waiting: deque[Item] = deque()
        self.running: Item | None = None
        self.is_over = False  # takes no more requests
        self.carried: dict[str, Any] = {}

    @property
    def is_ready(self) -> bool:
        """Whether its next request may execute."""
        return self.running is None and self.lane is not None and bool(self.waiting)


Promoted = list[SequenceRun[Item]]


class SequenceTable(Generic[Item]):
    """The sequences of one model version, with `slots` places in each of `lanes` lanes.

    Methods that end a run return the runs that have got a slot by that.
    """

    def __init__(self, lanes: int, slots: int, max_idle: int) -> None:
        self._lanes = lanes
        self._slots = slots
        self._max_idle = max_idle
        self._runs: dict[Hashable, list[SequenceRun[Item]]] = {}  # of each id; all but the first wait for the first
        self._fresh = 0  # places that have been used, counted from slot 0 of lane 0
        self._returned: list[tuple[int, int]] = []  # heap of used places that are free: slot, lane
        self._backlog: OrderedDict[SequenceRun[Item], None] = OrderedDict()
        self._idle: OrderedDict[SequenceRun[Item], int] = OrderedDict()  # since when
        self._deadlines = Deadlines[SequenceRun[Item]]()
        self.occupied = [0] * lanes  # places that runs have, of each lane
        self.running = 0  # requests that execute
        self.queued = 0  # requests that wait in runs with a slot
        self.backlogged = 0  # requests that wait in runs without one

    def push(
        self, item: Item, sequence_id: Hashable, *, start: bool, end: bool, deadline: int | None = None
    ) -> SequenceRun[Item]:
        """Add a request to its run, which may be a new one; it times out at `deadline` if its run has no slot by then.
        Raise `NotStartedError`."""
        run = self._last(sequence_id)
        if run is None:
            if not start:
                raise NotStartedError
            run = self._begin(sequence_id)
        self._idle.pop(run, None)
        run.waiting.append(item)
        run.is_over = end
        if run.lane is not None:
            self.queued += 1
        else:
            self.backlogged += 1
            if deadline is not None:
                self._deadlines.set(run, deadline)
        return run

    def is_open(self, sequence_id: Hashable) -> bool:
        """Return whether a run with this id takes more requests."""
        return self._last(sequence_id) is not None

    def take(self, run: SequenceRun[Item]) -> Item:
        """Return the next request of a run that is ready; it executes from now on."""
        item = run.running = run.waiting.popleft()
        self.queued -= 1
        self.running += 1
        return item

    def repeat(self, run: SequenceRun[Item]) -> None:
        """Put the request that has just executed back in front of the others, to execute again."""
        if run.running is not None:
            run.waiting.appendleft(run.running)
            run.running = None
            self.running -= 1
            self.queued += 1

    def finish(self, run: SequenceRun[Item], now: int) -> Promoted[Item]:
        """Note that the executing request is done."""
        run.running = None
        self.running -= 1
        return self._settle(run, now)

    def cancel(self, run: SequenceRun[Item], item: Item, now: int) -> tuple[list[Item], Promoted[Item]]:
        """End a run at `item`, which waits or was taken and has not begun to execute. Return the requests that will not
        execute: `item` and those behind it."""
        dropped: deque[Item] = deque()
        if run.running == item:
            run.running = None
            self.running -= 1
            count = len(run.waiting)
            dropped.append(item)
        elif item in run.waiting:
            count = len(run.waiting) - run.waiting.index(item)
        else:
            return [], []
        dropped.extend(reversed([run.waiting.pop() for _ in range(count)]))
        self._uncount(run, count)
        run.is_over = True
        return list(dropped), self._settle(run, now)

    def expire(self, now: int) -> tuple[list[Item], Promoted[Item]]:
        """End the runs that are idle, or without a slot when their requests time out; return these requests."""
        timed_out: list[Item] = []
        promoted: Promoted[Item] = []
        for run in self._deadlines.expire(now):
            timed_out += run.waiting
            self._uncount(run, len(run.waiting))
            run.waiting.clear()
            promoted += self._end(run)
        while self._idle:
            run, since = next(iter(self._idle.items()))
            if now < since + self._max_idle:
                break
            promoted += self._end(run)
        return timed_out, promoted

    def close(self) -> Promoted[Item]:
        """Let every run end after the requests that it has."""
        for runs in self._runs.values():
            runs[-1].is_over = True
        promoted: Promoted[Item] = []
        while self._idle:
            promoted += self._end(next(iter(self._idle)))
        return promoted

    def next_deadline(self) -> int | None:
        """Return when to call `expire`."""
        nearest = self._deadlines.nearest()
        if not self._idle:
            return nearest
        idle = next(iter(self._idle.values())) + self._max_idle
        return idle if nearest is None else min(idle, nearest)

    def ready(self) -> Iterator[SequenceRun[Item]]:
        """Yield the runs whose next request may execute."""
        return (runs[0] for runs in self._runs.values() if runs[0].is_ready)

    def placed(self, lane: int) -> list[SequenceRun[Item]]:
        """Return the runs that have a slot of a lane."""
        return [runs[0] for runs in self._runs.values() if runs[0].lane == lane]

    def is_settled(self) -> bool:
        """Return whether no request waits or executes."""
        return not (self.queued or self.backlogged or self.running)

    def __len__(self) -> int:
        """Return how many ids have a run."""
        return len(self._runs)

    def _last(self, sequence_id: Hashable) -> SequenceRun[Item] | None:
        runs = self._runs.get(sequence_id)
        return None if runs is None or runs[-1].is_over else runs[-1]

    def _uncount(self, run: SequenceRun[Item], count: int) -> None:
        if run.lane is None:
            self.backlogged -= count
        else:
            self.queued -= count

    def _begin(self, sequence_id: Hashable) -> SequenceRun[Item]:
        run = SequenceRun[Item](sequence_id)
        runs = self._runs.setdefault(sequence_id, [])
        runs.append(run)
        if len(runs) == 1:
            if not self._backlog and self._has_place():
                self._place(run)
            else:
                self._backlog[run] = None
        return run

    def _has_place(self) -> bool:
        return bool(self._returned) or self._fresh < self._lanes * self._slots

    def _place(self, run: SequenceRun[Item]) -> None:
        """Give a run the lowest free slot, and among those with the same number, that of the first lane."""
        if self._returned:
            run.slot, run.lane = heapq.heappop(self._returned)
        else:
            run.slot, run.lane = divmod(self._fresh, self._lanes)
            self._fresh += 1
        self.occupied[run.lane] += 1
        self._deadlines.forget(run)
        self.backlogged -= len(run.waiting)
        self.queued += len(run.waiting)

    def _settle(self, run: SequenceRun[Item], now: int) -> Promoted[Item]:
        """End a run to which nothing can come any more; note since when it is idle if something can."""
        if run.running is not None or run.waiting:
            return []
        if run.is_over:
            return self._end(run)
        self._idle[run] = now
        return []

    def _end(self, run: SequenceRun[Item]) -> Promoted[Item]:
        """Forget a run and hand its place on."""
        run.is_over = True
        run.carried.clear()
        self._idle.pop(run, None)
        self._deadlines.forget(run)
        self._backlog.pop(run, None)
        runs = self._runs[run.id]
        was_first = runs[0] is run
        runs.remove(run)
        if not runs:
            del self._runs[run.id]
        elif was_first:
            self._backlog[runs[0]] = None
        if run.lane is not None:
            self.occupied[run.lane] -= 1
            heapq.heappush(self._returned, (run.slot, run.lane))
        promoted: Promoted[Item] = []
        while self._backlog and self._has_place():
            promoted.append(self._backlog.popitem(last=False)[0])
            self._place(promoted[-1])
        return promoted
