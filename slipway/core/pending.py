"""An accepted request: the one owner of its responses.

The dataplane creates a `Pending` for each accepted request. Its holder responds through `send` (any thread) or
`deliver` (event-loop thread); a front gets each response through its callback exactly once and in order. Responses
after the final one are dropped. A request with `one_answer` gets exactly one response, with the final flag, even if
the model responds first and closes the request later. `cancel` marks the request: schedulers drop a cancelled request
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
        """Schedule `callback` on the loop's thread."""


class Pending:
    """A request and the way to respond to it. `rows` is its batch size (1 if the model has no batch dimension)."""

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
        self.responses = 0  # responses delivered so far, except the empty final one
        self.observe: Callable[[Pending, InferResponse], None] | None = None  # statistics; runs before the front
        self.dequeue: Callable[[Pending], None] | None = None  # set while queued: leaves the queue on cancellation
        self.timing: Timing | None = None  # of the request's execution, for an ensemble to add up
        self.merge_key: Any = None  # cached for the batcher: requests with equal keys may be merged
        self._callback = callback
        self._early: InferResponse | None = None  # the one response, until its final flag arrives
        self._on_cancel: list[Callable[[], None]] = []

    def redirect(self, callback: Deliver) -> Deliver:
        """Let `callback` have the responses from now on; return the function that had them, which it has to call."""
        before, self._callback = self._callback, callback
        return before

    def send(self, response: InferResponse) -> None:
        """Respond from any thread."""
        self.loop.call_soon_threadsafe(self.deliver, response)

    def deliver(self, response: InferResponse) -> None:
        """Respond from the event-loop thread; ignored after the final response."""
        if self.finished:
            return
        if response.final:
            self.finished = True
            if self._on_cancel:
                self._on_cancel.clear()  # an action may refer back to this request: leave no reference cycle
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
        """Return the one response of a request that the model closed afterwards."""
        self._early = None
        if not last.empty:
            return last
        early.final = True
        return early

    def executed(self) -> None:
        """Note that an execution has ended after its response; for those who follow the request."""

    def on_cancel(self, action: Callable[[], None]) -> None:
        """Run `action` on the loop's thread when the request is cancelled, or at once if it already is."""
        if self.cancelled:
            action()
        elif not self.finished:
            self._on_cancel.append(action)

    def forget(self, kind: type) -> None:
        """Drop the actions of a type: what they would cancel is over, and the request is not."""
        self._on_cancel = [action for action in self._on_cancel if not isinstance(action, kind)]

    def cancel(self) -> None:
        """Mark the request as cancelled (event-loop thread); harmless after the final response."""
        if self.cancelled or self.finished:
            return
        self.cancelled = True
        actions, self._on_cancel = self._on_cancel, []
        for action in actions:
            action()
        if self.dequeue is not None:
            self.dequeue(self)
