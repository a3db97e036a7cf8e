"""A traced request to a model that sends one response, the most frequent kind: its trace has the whole at once.

A `core.watched.WatchedPending` would do the same with four times as many calls. It is for the others: models that
respond several times or execute a request several times, schedulers that hold responses back, and the log.
"""

from __future__ import annotations

from slipway.core.pending import Deliver, Loop, Pending
from slipway.core.request import InferRequest, InferResponse
from slipway.errors import SlipwayError
from slipway.tracing.trace import RequestTrace


class TracedPending(Pending):
    """A request with a trace, accepted by a model that executes it once and sends one response."""

    __slots__ = ("_receiver", "_trace")

    def __init__(
        self,
        request: InferRequest,
        rows: int,
        arrival_ns: int,
        loop: Loop,
        callback: Deliver,
        trace: RequestTrace,
    ) -> None:
        self._trace = trace
        self._receiver = callback
        Pending.__init__(self, request, rows, arrival_ns, loop, self._pass_on, one_answer=True)

    def refused(self, error: SlipwayError) -> None:
        """Note that the scheduler did not take the request."""
        self._callback = self._receiver
        self._trace.answered(InferResponse(error=error), None)

    def executed(self) -> None:
        """Note the end of an execution that went on after the response."""
        if self.timing is not None:
            self._trace.executed(self.timing)
        self._trace.ended(self.responses)

    def _pass_on(self, response: InferResponse) -> None:
        self._callback = receiver = self._receiver  # this method is a reference cycle
        if self.timing is None and self.observe is not None:
            self._trace.responded(response)  # and executes on
        else:
            self._trace.answered(response, self.timing)
        receiver(response)
