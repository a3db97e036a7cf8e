"""`preserve_ordering`: delivers another scheduler's responses in the order in which the requests arrived.

Runs on the event-loop thread. It wraps the scheduler and acts as its client, so every response (an instance's outcome,
a response sender's, a refusal) passes through it. `ReorderBuffer`, which is pure, keeps the order. The times of an
execution are the client's request's at once, even if its response is held back.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from functools import partial
from typing import Generic, TypeVar

from slipway.core.pending import Deliver, Pending
from slipway.core.request import InferResponse
from slipway.core.statistics import Timing
from slipway.errors import Code, SlipwayError
from slipway.scheduling.api import Scheduler

Place = TypeVar("Place", bound=Hashable)
Answer = TypeVar("Answer")


class ReorderBuffer(Generic[Place, Answer]):
    """Holds each response back until every earlier place has had its final one."""

    def __init__(self) -> None:
        self._held: OrderedDict[Place, list[Answer]] = OrderedDict()
        self._closed: set[Place] = set()  # had their final response, but are not first in line

    def admit(self, place: Place) -> None:
        """Add `place` at the end of the line."""
        self._held[place] = []

    def answer(self, place: Place, answer: Answer, *, final: bool) -> list[tuple[Place, Answer]]:
        """Take a response; return the responses that may be sent now, in order."""
        self._held[place].append(answer)
        if final:
            self._closed.add(place)
        return self._release()

    def withdraw(self, place: Place) -> list[tuple[Place, Answer]]:
        """Drop a place that no longer needs a response; return the responses that may be sent now."""
        self._held.pop(place, None)
        self._closed.discard(place)
        return self._release()

    def __len__(self) -> int:
        return len(self._held)

    def _release(self) -> list[tuple[Place, Answer]]:
        released: list[tuple[Place, Answer]] = []
        while self._held:
            first = next(iter(self._held))
            released.extend((first, answer) for answer in self._held[first])
            if first not in self._closed:
                self._held[first] = []
                break
            del self._held[first]
            self._closed.discard(first)
        return released


class _Proxy(Pending):
    """A client's request as the wrapped scheduler sees it; the times of the execution are those of the client's."""

    __slots__ = ("_pending",)

    def __init__(self, pending: Pending, callback: Deliver) -> None:
        self._pending = pending
        super().__init__(pending.request, pending.rows, pending.arrival_ns, pending.loop, callback)

    @property
    def timing(self) -> Timing | None:
        """The times of the execution, once they are known."""
        return self._pending.timing

    @timing.setter
    def timing(self, timing: Timing | None) -> None:
        self._pending.timing = timing

    def deliver(self, response: InferResponse) -> None:
        """Respond; the execution may go on after the final response."""
        if response.final and self.observe is not None and self.timing is None:
            self._pending.observe = _executing
        super().deliver(response)


def _executing(pending: Pending, response: InferResponse) -> None:
    """Count nothing: the wrapped scheduler does. As a request's `observe`, it says that the request is executed."""


class OrderedScheduler:
    """Responds in order of arrival, regardless of the order of execution. Implements `scheduling.api.Scheduler`."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._buffer: ReorderBuffer[Pending, InferResponse] = ReorderBuffer()
        self._outbox: deque[tuple[Pending, InferResponse]] = deque()
        self._sending = False

    def submit(self, pending: Pending) -> None:
        """Pass the request on. Raise `SlipwayError` if it is refused at once."""
        proxy = _Proxy(pending, partial(self._answer, pending))
        self._buffer.admit(pending)
        pending.on_cancel(proxy.cancel)
        try:
            self._scheduler.submit(proxy)
        except SlipwayError:
            self._release(self._buffer.withdraw(pending))
            raise

    def is_idle(self) -> bool:
        """Return whether every accepted request is answered."""
        return self._scheduler.is_idle()

    async def drain(self) -> None:
        """Refuse new requests and wait until every accepted one is answered."""
        await self._scheduler.drain()

    def _answer(self, pending: Pending, response: InferResponse) -> None:
        if pending.cancelled and response.error is not None and response.error.code is Code.CANCELLED:
            pending.deliver(response)  # nobody waits for it, so its order does not matter
            self._release(self._buffer.withdraw(pending))
        else:
            self._release(self._buffer.answer(pending, response, final=response.final))

    def _release(self, answers: list[tuple[Pending, InferResponse]]) -> None:
        """Deliver in order, even if delivering one response causes the next."""
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
