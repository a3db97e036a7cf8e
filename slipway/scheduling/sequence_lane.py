"""One instance of a model that serves sequences, with the requests whose turn it is.

A lane is an `InstanceScheduler` with one instance, to which `SequenceScheduler` submits at most one request of each
sequence at a time. It reports the end of every execution, so that the next ones can follow.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, Protocol

from slipway.backends.instance_api import Instance, Outcome, Restarts
from slipway.core.pending import Deliver, Pending
from slipway.core.request import RESCHEDULED, InferRequest, InferResponse
from slipway.scheduling.completion import Completion
from slipway.scheduling.driver import InstanceScheduler
from slipway.scheduling.limited import LimitedScheduler
from slipway.scheduling.ordered import ReorderBuffer

# How many turns of the event loop a batch waits for more requests, while each turn brings some. Short executions make
# small batches, because a client's next request comes while those of the others execute: with 8 sequences at once
# 4.9 instead of 3.2 requests, and over gRPC 250 instead of 320 us of CPU time for a request, client included.
_TURNS: Final = 4


class Follower(Protocol):
    """Who decides what comes after an execution."""

    def executed(self, lane: SequenceLane, batch: Sequence[Pending], again: Collection[Pending]) -> None:
        """Take note of the end of an execution; the requests in `again` have to be executed another time."""

    def died(self, lane: SequenceLane) -> None:
        """Take note that the lane's process has died since the lane last started anything; what waits there is to be
        started now."""

    def answered(self, pending: Pending, response: InferResponse) -> None:
        """Look at a response before it is completed and delivered."""

    def withdrawn(self, pending: Pending) -> None:
        """Take note that a request was cancelled before it was executed; it has its response."""


class Placeholder(Pending):
    """A row of a batch without a request. It is never answered."""

    __slots__ = ()

    def __init__(self, request: InferRequest, like: Pending) -> None:
        super().__init__(request, like.rows, like.arrival_ns, like.loop, _drop)
        self.finished = True


def _drop(response: InferResponse) -> None:
    """Have no use for a response."""


class SequenceCompletion(Completion):
    """Completes responses, and says so to the follower."""

    follower: Follower
    lane: SequenceLane

    def finish(self, batch: Sequence[Pending], outcome: Outcome) -> None:
        """Count an execution, deliver its responses, and let the next requests follow."""
        if RESCHEDULED not in outcome.responses:
            super().finish(batch, outcome)
            self.follower.executed(self.lane, batch, ())
            return
        again = [
            pending
            for pending, response in zip(batch, outcome.responses, strict=True)
            if response is RESCHEDULED and not pending.finished
        ]
        responses = [None if response is RESCHEDULED else response for response in outcome.responses]
        super().finish(batch, Outcome(responses, outcome.timing))
        for pending in again:
            self._answering.discard(pending)
            pending.timing = None
        self.follower.executed(self.lane, batch, again)

    def show_responses(self) -> None:
        """Show every response to the follower, before it is completed and delivered."""
        self.observe = self._show

    def _show(self, pending: Pending, response: InferResponse) -> None:
        self.follower.answered(pending, response)
        self._observe(pending, response)


class SequenceLane(InstanceScheduler):
    """One instance. Construct it, then `follow`."""

    completion_type = SequenceCompletion
    _completion: SequenceCompletion
    _follower: Follower

    def __init__(self, *arguments: Any, instances: Sequence[Instance], **settings: Any) -> None:
        super().__init__(*arguments, instances=instances, **settings)
        (instance,) = instances
        self._restarting = instance if isinstance(instance, Restarts) else None
        self._known_deaths = self.deaths
        self._sequences: Callable[[], int]
        self._is_collecting = False
        self._is_immediate = self._line.immediate

    @property
    def deaths(self) -> int:
        """How often the instance's process has died."""
        return 0 if self._restarting is None else self._restarting.deaths

    @staticmethod
    def has_waiting(pending: Pending) -> bool:
        """Return whether a request that was submitted, and has no response, has not begun to execute."""
        return pending.dequeue is not None

    def withdraw(self, pending: Pending) -> None:
        """Take back a request that waits for the instance, without a response."""
        self._line.remove(pending)
        self._leave(pending)
        self._pool.forget(pending.request.explanation)

    def follow(self, follower: Follower, sequences: Callable[[], int], *, with_responses: bool) -> None:
        """Report to `follower` from now on; `with_responses`, show it every response too. `sequences` returns how many
        have a place here."""
        self._sequences = sequences
        self._follower = self._completion.follower = follower
        self._completion.lane = self
        if with_responses:
            self._completion.show_responses()

    @contextmanager
    def gathering(self, *, start: bool) -> Iterator[None]:
        """Collect what is submitted in this context, and with `start` begin to execute it afterwards, together."""
        before, self._pumping = self._pumping, True
        try:
            yield
        finally:
            self._pumping = before
        if start and not before and self._line:
            self._pump()

    def submit(self, pending: Pending) -> None:
        """Execute a request now, or queue it."""
        self._line.immediate = self._is_immediate and not self._pool.is_quick
        super().submit(pending)

    def _queued(self) -> None:
        """Start what can start; while executions are quick, soon, with the requests that come meanwhile."""
        if not self._pool.is_quick or len(self._line) >= self._sequences():
            super()._queued()
        elif not self._is_collecting and self._pool.free:
            self._collect(_TURNS)

    def _collect(self, turns: int) -> None:
        """Let the event loop read what clients have sent, as long as each turn brings more."""
        self._is_collecting = True
        asyncio.get_running_loop().call_soon(self._collected, len(self._line), turns - 1)

    def _collected(self, before: int, turns: int) -> None:
        if turns and before < len(self._line) < self._sequences():
            self._collect(turns)
            return
        self._is_collecting = False
        if self._line and self._pool.free:
            self._pump()

    def _pump(self) -> None:
        self._note_deaths()
        super()._pump()

    def _note_deaths(self) -> None:
        if self.deaths != self._known_deaths:
            self._known_deaths = self.deaths
            self._follower.died(self)

    def _leave(self, pending: Pending) -> None:
        if not isinstance(pending, Placeholder):
            super()._leave(pending)

    def _cancelled(self, pending: Pending) -> None:
        super()._cancelled(pending)
        self._follower.withdrawn(pending)


class LimitedLane(SequenceLane, LimitedScheduler):
    """A lane whose instance executes only while it has its resources."""

    def _advance(self) -> None:
        self._note_deaths()  # it may have waited for them for long
        super()._advance()


class OrderedLane:
    """Puts the responses of a lane's requests in the order in which the requests came to the lane."""

    def __init__(self) -> None:
        self._buffer: ReorderBuffer[Pending, InferResponse] = ReorderBuffer()
        self._callbacks: dict[Pending, Deliver] = {}
        self._outbox: deque[tuple[Pending, InferResponse]] = deque()
        self._sending = False

    def admit(self, pending: Pending) -> None:
        """Take a request that is about to be submitted; harmless if it has been before."""
        if pending not in self._callbacks:
            self._buffer.admit(pending)
            self._callbacks[pending] = pending.redirect(partial(self._answer, pending))

    def _answer(self, pending: Pending, response: InferResponse) -> None:
        """Deliver in order, even if delivering one response causes the next."""
        self._outbox.extend(self._buffer.answer(pending, response, final=response.final))
        if self._sending:
            return
        self._sending = True
        try:
            while self._outbox:
                first, answer = self._outbox.popleft()
                callback = self._callbacks.pop(first) if answer.final else self._callbacks[first]
                callback(answer)
        finally:
            self._sending = False
