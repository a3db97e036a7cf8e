"""Carries out the decisions about sequences: gives each request to its instance when it is its turn, keeps one timer,
responds to refused, cancelled and expired requests.

Runs on the event-loop thread. `sequences.py` decides where a request belongs and when its sequence has a place,
`sequence_inputs.py` what the model gets; a `SequenceLane` per instance executes. Source of the texts: Triton
`sequence_batch_scheduler.cc`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Hashable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Final

from slipway.config.scheduler_delays import NO_DELAYS, SchedulerDelays
from slipway.config.sequences import SequencePlan
from slipway.core.explanation import Wait
from slipway.core.pending import Pending
from slipway.core.request import SEQUENCE_END, SEQUENCE_START, InferRequest, InferResponse
from slipway.core.signature import ModelSignature
from slipway.core.statistics import ModelStatistics
from slipway.errors import FailureReason, SlipwayError, cancelled, invalid, shown, unavailable
from slipway.scheduling.api import STOPPED, Drain
from slipway.scheduling.completion import Completion
from slipway.scheduling.sequence_inputs import SequenceInputs
from slipway.scheduling.sequence_lane import OrderedLane, SequenceLane
from slipway.scheduling.sequence_parameters import with_sequence_fields
from slipway.scheduling.sequences import NotStartedError, SequenceRun, SequenceTable

_LOG: Final = logging.getLogger("slipway.scheduling")
_EXPIRED: Final = "timeout of the corresponding sequence has been expired"
_DEATHS: Final = ""  # of the process, when the run began: a key that is not the name of an input

Run = SequenceRun[Pending]


class _Member:
    """A request that waits or executes. `request` is the client's, without what the model gets in addition."""

    __slots__ = ("is_late", "request", "run")

    def __init__(self, run: Run, request: InferRequest) -> None:
        self.run = run
        self.request = request
        self.is_late = False  # executed, and its response, with the state, is still to come


class SequenceScheduler:
    """Schedules one model version that serves sequences. Implements `scheduling.api.Scheduler`."""

    def __init__(
        self,
        plan: SequencePlan,
        signature: ModelSignature,
        statistics: ModelStatistics,
        version: str,
        *,
        lanes: Sequence[SequenceLane],
        inputs: SequenceInputs,
        delays: SchedulerDelays = NO_DELAYS,
    ) -> None:
        self._plan = plan
        self._model_name = signature.model_name
        self._statistics = statistics
        self._inputs = inputs
        self._lanes = lanes
        self._orders = [OrderedLane() if plan.preserve_ordering else None for _ in lanes]
        self._table: SequenceTable[Pending] = SequenceTable(len(lanes), plan.slots, plan.max_idle)
        self._members: dict[Pending, _Member] = {}
        self._completion = Completion(signature, statistics, version, _nothing)  # of refusals
        self._drain = Drain(self._table.is_settled)
        self._delays: SchedulerDelays | None = delays if delays.any else None
        self._numbers = count(1)  # ids of iterative sequences without one
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0
        for index, lane in enumerate(lanes):
            lane.follow(self, partial(self._table.occupied.__getitem__, index), with_responses=inputs.has_states)

    def slot_of(self, pending: Pending) -> int:
        """Return the slot of an accepted request."""
        return self._members[pending].run.slot

    def submit(self, pending: Pending) -> None:
        """Add the request to its sequence. Raise `SlipwayError` if it is refused."""
        if self._drain.closed:
            raise self._refused(pending, unavailable(pending.request.log_prefix + STOPPED))
        key = self._admitted(pending)
        request = pending.request
        start = bool(request.flags & SEQUENCE_START)
        if start and self._table.is_open(key):
            _LOG.warning(
                "sequence %s for model '%s' has a conflict. The previous sequence did not end before this sequence "
                "start. Previous sequence will be terminated early.",
                shown(request.correlation_id),
                self._model_name,
            )
        # An iterative sequence is one request, which executes until the model returns it no more.
        end = bool(request.flags & SEQUENCE_END) or self._plan.iterative
        deadline = time.monotonic_ns() + request.timeout_us * 1000 if request.timeout_us else None
        try:
            run = self._table.push(pending, key, start=start, end=end, deadline=deadline)
        except NotStartedError:
            text = (
                f"inference request for sequence {shown(request.correlation_id)} to model '{self._model_name}' must "
                "specify the START flag on the first request of the sequence"
            )
            raise self._refused(pending, invalid(text)) from None
        member = self._members[pending] = _Member(run, request)
        if run.is_ready and len(run.waiting) == 1 and self._delays is None and not self._has_forgotten(run):
            self._execute(self._table.take(run), member)
            return
        self._wait(pending)
        if request.explanation is not None:
            request.explanation.wait(Wait.SLOT if run.lane is None else Wait.ORDER, time.monotonic_ns())
        self._advance((run,))
        if deadline is not None:
            self._set_timer()

    def is_idle(self) -> bool:
        """Return whether every accepted request is answered."""
        return self._table.is_settled() and all(lane.is_idle() for lane in self._lanes)

    async def drain(self) -> None:
        """Refuse new requests and wait until every accepted one is answered; no sequence waits for more of them."""
        self._drain.closed = True
        self._open_gate()
        self._advance(self._table.close())
        await self._drain.finish()
        for lane in self._lanes:
            await lane.drain()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Reports of the lanes

    def executed(self, lane: SequenceLane, batch: Sequence[Pending], again: Collection[Pending]) -> None:
        """Let what waits for the end of an execution follow; the lane starts it."""
        now = time.monotonic_ns()
        with lane.gathering(start=False):
            for pending in batch:
                member = self._members.get(pending)
                if member is None:  # a placeholder
                    continue
                if pending in again:
                    self._repeat(pending, member)
                elif self._inputs.has_states and not pending.finished:
                    member.is_late = True
                else:
                    self._finish(pending, member, now)
        self._settled()

    def died(self, lane: SequenceLane) -> None:
        """Take back what waits for an instance whose process has died and whose model has forgotten the sequence. A
        sequence whose START still waits begins in the next process."""
        if self._inputs.has_states:
            return
        for run in self._table.placed(self._lanes.index(lane)):
            pending = run.running
            if pending is None or not lane.has_waiting(pending):
                continue
            if self._members[pending].request.flags & SEQUENCE_START:
                run.carried[_DEATHS] = lane.deaths
            elif run.carried[_DEATHS] != lane.deaths:
                lane.withdraw(pending)
                self._wait(pending)
                self._lose(run)
        self._settled()

    def answered(self, pending: Pending, response: InferResponse) -> None:
        """Keep the states of a response; if the next request waits for them, let it follow."""
        member = self._members.get(pending)
        if member is None:
            return
        self._inputs.absorb(member.run, member.request.outputs, response)
        if response.final and member.is_late:
            self._finish(pending, member, time.monotonic_ns())
            self._settled()

    def withdrawn(self, pending: Pending) -> None:
        """End a sequence at a request that was cancelled while it waited for its instance."""
        self._cancel(pending)

    # One request

    def _admitted(self, pending: Pending) -> Hashable:
        """Return the key of the request's sequence; raise INVALID_ARG if it cannot have one."""
        plan = self._plan
        request = pending.request
        if request.parameters:
            try:
                request = pending.request = with_sequence_fields(request)
            except SlipwayError as error:
                raise self._refused(pending, error) from None
        sequence_id = request.correlation_id
        control = plan.id_control
        if control is not None and isinstance(sequence_id, str) != (control.datatype == "BYTES"):
            given = "BYTES" if isinstance(sequence_id, str) else "UINT64"
            text = (
                f"{request.log_prefix}sequence batching control '{control.name}' data-type is '{given}', but model "
                f"'{self._model_name}' expects '{control.datatype}'"
            )
            raise self._refused(pending, invalid(text))
        if pending.rows > 1:
            text = "must specify batch-size 1 due to requirements of sequence batcher"
            raise self._refused(pending, invalid(f"inference request to model '{self._model_name}' {text}"))
        if sequence_id:
            return sequence_id
        if not plan.iterative:
            text = "must specify a non-zero or non-empty correlation ID"
            raise self._refused(pending, invalid(f"inference request to model '{self._model_name}' {text}"))
        number = next(self._numbers)
        pending.request = replace(request, correlation_id=number, flags=SEQUENCE_START)
        return (number,)  # unlike any client's id

    def _wait(self, pending: Pending) -> None:
        pending.dequeue = self._cancel
        self._statistics.pending += 1

    def _leave(self, pending: Pending) -> None:
        pending.dequeue = None
        self._statistics.pending -= 1

    def _advance(self, runs: Iterable[Run]) -> None:
        """Give the next request of each run that is ready to its lane."""
        if self._delays is not None and not self._open_if_due():
            return
        for run in runs:
            if not run.is_ready or run.lane is None:
                continue
            if self._has_forgotten(run):
                self._lose(run)
                continue
            pending = self._table.take(run)
            self._leave(pending)
            self._execute(pending, self._members[pending])

    def _execute(self, pending: Pending, member: _Member) -> None:
        """Give a request that was taken to its lane."""
        run = member.run
        if run.lane is None:
            return
        pending.request = self._inputs.composed(member.request, run)
        order = self._orders[run.lane]
        if order is not None:
            order.admit(pending)
        self._lanes[run.lane].submit(pending)

    def _has_forgotten(self, run: Run) -> bool:
        """Return whether the model's process has died since the run's START, and with it what the model remembers. A
        state that the server keeps is not lost."""
        if self._inputs.has_states or run.lane is None:
            return False
        deaths = self._lanes[run.lane].deaths
        if self._members[run.waiting[0]].request.flags & SEQUENCE_START:
            run.carried[_DEATHS] = deaths
        return bool(run.carried[_DEATHS] != deaths)

    def _lose(self, run: Run) -> None:
        """End a run that the model has forgotten; what waits gets an error instead of a wrong result."""
        first = run.waiting[0] if run.running is None else run.running
        now = time.monotonic_ns()
        dropped, promoted = self._table.cancel(run, first, now)
        text = f"the sequence was lost with the process of its instance of model '{self._model_name}'; start it again"
        self._refuse(dropped, unavailable(text), now)
        self._advance(promoted)

    def _repeat(self, pending: Pending, member: _Member) -> None:
        """Execute a request again, as one that neither starts nor ends a sequence."""
        member.request = replace(member.request, flags=0)
        self._table.repeat(member.run)
        self._wait(pending)
        if pending.cancelled:
            self._cancel(pending)
        else:
            self._advance((member.run,))

    def _finish(self, pending: Pending, member: _Member, now: int) -> None:
        del self._members[pending]
        promoted = self._table.finish(member.run, now)
        if member.run.waiting or promoted:
            self._advance((member.run, *promoted))

    def _cancel(self, pending: Pending) -> None:
        """End the sequence of a cancelled request there: those behind it have lost what they build on."""
        member = self._members.get(pending)
        if member is None:
            return
        now = time.monotonic_ns()
        dropped, promoted = self._table.cancel(member.run, pending, now)
        self._refuse(dropped, cancelled(), now)
        self._advance(promoted)
        self._settled()

    def _refuse(self, dropped: Iterable[Pending], error: SlipwayError, now: int) -> None:
        """Respond to requests that will not be executed; one that its lane has refused has its response."""
        for pending in dropped:
            del self._members[pending]
            if not pending.finished:
                self._leave(pending)
                self._completion.refuse(pending, error.without_frames(), now)

    def _refused(self, pending: Pending, error: SlipwayError) -> SlipwayError:
        self._statistics.record_failure(time.monotonic_ns() - pending.arrival_ns, error.reason)
        return error

    # Times

    def _settled(self) -> None:
        self._set_timer()
        self._drain.check()

    def _set_timer(self) -> None:
        """Wake at the next deadline; if an earlier timer is set, it will set the next one itself."""
        when_ns = self._table.next_deadline()
        if when_ns is None or (self._timer is not None and self._timer_ns <= when_ns):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ns = when_ns
        delay = max(0, when_ns - time.monotonic_ns()) / 1e9
        self._timer = asyncio.get_running_loop().call_later(delay, self._woken)

    def _woken(self) -> None:
        self._timer = None
        now = time.monotonic_ns()
        timed_out, promoted = self._table.expire(now)
        self._refuse(timed_out, unavailable(_EXPIRED, reason=FailureReason.REJECTED), now)
        self._advance(promoted)
        self._settled()

    # Delays for tests

    def _open_if_due(self) -> bool:
        """Return whether requests may execute; if they may from now on, begin with all that are ready."""
        delays, table = self._delays, self._table
        if delays is not None and (table.queued < delays.requests or table.backlogged < delays.backlog):
            return False
        self._open_gate()
        return True

    def _open_gate(self) -> None:
        if self._delays is None:
            return
        self._delays = None
        with ExitStack() as stack:
            for lane in self._lanes:
                stack.enter_context(lane.gathering(start=True))
            self._advance(list(self._table.ready()))


def _nothing() -> None:
    """Need no report: refusals have no execution."""
