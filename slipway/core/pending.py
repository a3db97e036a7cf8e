"""A request on its way: the one owner of its answers.

The dataplane makes a `Pending` for each accepted request. Whoever holds it may answer through `send` (any thread) or
`deliver` (event-loop thread); a front gets each answer through its callback exactly once and in order. After the final
answer every further one is dropped. A request with `one_answer` gets its answer once, with the final flag, also where
the model gives the answer first and closes the request later. `cancel` marks it: schedulers drop a cancelled request
before execution, and backends may poll `cancelled`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from slipway.core.request import InferRequest, InferResponse
from slipway.core.statistics import Timing

Deliver = Callable[[InferResponse], None]


class Loop(Protocol):
    """The part of an asyncio event loop that worker threads need."""

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: object) -> object:
        """Run `callback` on the loop's thread soon."""


class Pending:
    """A request with its place to answer. `rows` is its batch size (1 where the model has no batch dimension)."""

    __slots__ = (
        "_callback",
        "_early",
        "_on_cancel",
        "arrival_ns",
        "cancelled",
        "dequeue",
        "finished",
        "loop",
        "merge_key",
        "observe",
        "one_answer",
        "request",
        "responses",
        "rows",
        "timing",
    )

    def __init__(
        self,
        request: InferRequest,
        rows: int,
        arrival_ns: int,
        loop: Loop,
        callback: Deliver,
        one_answer: bool = False,
    ) -> None:
        self.request = request
        self.rows = rows
        self.arrival_ns = arrival_ns  # time.monotonic_ns() when the dataplane accepted it
        self.loop = loop
        self.one_answer = one_answer  # the model is not decoupled
        self.cancelled = False
        self.finished = False
        self.responses = 0  # answers delivered so far, the empty final one not counted
        self.observe: Callable[[Pending, InferResponse], None] | None = None  # statistics, before the front sees it
        self.dequeue: Callable[[Pending], None] | None = None  # set while queued: frees the place when cancelled
        self.timing: Timing | None = None  # of the execution that answered, for an ensemble to add up
        self.merge_key: Any = None  # the batcher's cache of what may be merged with this request
        self._callback = callback
        self._early: InferResponse | None = None  # the one answer, while its final flag is to come
        self._on_cancel: list[Callable[[], None]] = []

    def send(self, response: InferResponse) -> None:
        """Answer from any thread."""
        self.loop.call_soon_threadsafe(self.deliver, response)

    def deliver(self, response: InferResponse) -> None:
        """Answer from the event-loop thread; ignored after the final answer."""
        if self.finished:
            return
        if response.final:
            self.finished = True
            if self._on_cancel:
                self._on_cancel.clear()  # an action may hold what holds this request: leave no reference cycle
        if not response.empty:
            self.responses += 1
        if self.observe is not None:
            self.observe(self, response)
        if not response.final:
            if self.one_answer:
                self._early = response
                return
        elif self._early is not None:
            response = self._closed(self._early, response)
        self._callback(response)

    def _closed(self, early: InferResponse, last: InferResponse) -> InferResponse:
        """Return the one answer of a request that was closed after it."""
        self._early = None
        if not last.empty:
            return last
        early.final = True
        return early

    def on_cancel(self, action: Callable[[], None]) -> None:
        """Run `action` on the loop's thread when the request is cancelled, at once if it is already."""
        if self.cancelled:
            action()
        elif not self.finished:
            self._on_cancel.append(action)

    def cancel(self) -> None:
        """Mark the request as no longer wanted (event-loop thread); harmless after the final answer."""
        if self.cancelled or self.finished:
            return
        self.cancelled = True
        actions, self._on_cancel = self._on_cancel, []
        for action in actions:
            action()
        if self.dequeue is not None:
            self.dequeue(self)
