"""`preserve_ordering`: puts the answers of another scheduler into the order in which the requests came.

Runs on the event-loop thread. It stands before the scheduler as a client of it, so answers by any way (an instance's
outcome, a response sender, a refusal) pass through it. The order itself is kept in `reorder.py`.
"""

from __future__ import annotations

from collections import deque
from functools import partial

from slipway.core.pending import Pending
from slipway.core.request import InferResponse
from slipway.errors import Code, SlipwayError
from slipway.scheduling.api import Scheduler
from slipway.scheduling.reorder import ReorderBuffer


class OrderedScheduler:
    """Answers in order of arrival, whatever the order of execution. Implements `scheduling.api.Scheduler`."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._buffer: ReorderBuffer[Pending, InferResponse] = ReorderBuffer()
        self._outbox: deque[tuple[Pending, InferResponse]] = deque()
        self._sending = False

    def submit(self, pending: Pending) -> None:
        """Pass the request on. Raise `SlipwayError` when it is refused at once."""
        proxy = Pending(pending.request, pending.rows, pending.arrival_ns, pending.loop, partial(self._answer, pending))
        self._buffer.admit(pending)
        pending.on_cancel(proxy.cancel)
        try:
            self._scheduler.submit(proxy)
        except SlipwayError:
            self._release(self._buffer.withdraw(pending))
            raise

    async def drain(self) -> None:
        """Refuse new requests and return when every accepted one is answered."""
        await self._scheduler.drain()

    def _answer(self, pending: Pending, response: InferResponse) -> None:
        if pending.cancelled and response.error is not None and response.error.code is Code.CANCELLED:
            pending.deliver(response)  # nobody waits for it, so nobody can see it out of order
            self._release(self._buffer.withdraw(pending))
        else:
            self._release(self._buffer.answer(pending, response, final=response.final))

    def _release(self, answers: list[tuple[Pending, InferResponse]]) -> None:
        """Deliver in order, also when taking one answer makes the client cause another."""
        self._outbox.extend(answers)
        if self._sending:
            return
        self._sending = True
        try:
            while self._outbox:
                pending, response = self._outbox.popleft()
                pending.deliver(response)
        finally:
            self._sending = False
