"""A request that somebody follows, for a trace or for the log. Others are a plain `Pending` and pay nothing for this.

The watcher learns when the request was executed, of each response just before the front gets it, and of the end: the
final response is delivered, and the times of the execution are known. A model that answers early is executed after
its final response.
"""

from __future__ import annotations

from typing import Protocol

from slipway.core.pending import Deliver, Loop, Pending
from slipway.core.request import InferRequest, InferResponse
from slipway.core.statistics import Timing
from slipway.errors import SlipwayError


class Watcher(Protocol):
    """Follows one request; called on the event-loop thread."""

    def executed(self, timing: Timing) -> None:
        """Note when the request was executed. An ensemble's times are the sums of its steps'; a request of an iterative
        sequence is executed several times."""

    def responded(self, response: InferResponse) -> None:
        """Note a response before it is delivered; it may be changed afterwards."""

    def ended(self, responses: int) -> None:
        """Note that nothing more comes, after so many responses with content."""


class WatchedPending(Pending):
    """A request with a watcher."""

    __slots__ = ("_is_executing", "_receiver", "_timing", "_watcher")

    def __init__(
        self,
        request: InferRequest,
        rows: int,
        arrival_ns: int,
        loop: Loop,
        callback: Deliver,
        one_answer: bool,
        watcher: Watcher,
    ) -> None:
        self._watcher = watcher
        self._receiver = callback
        self._is_executing = False  # the final response came before the end of the execution
        self._timing: Timing | None = None
        Pending.__init__(self, request, rows, arrival_ns, loop, self._pass_on, one_answer)

    @property
    def timing(self) -> Timing | None:
        """The times of the execution, once they are known."""
        return self._timing

    @timing.setter
    def timing(self, timing: Timing | None) -> None:
        self._timing = timing
        if timing is None:
            return
        self._watcher.executed(timing)
        if self._is_executing:
            self._is_executing = False
            self._watcher.ended(self.responses)

    def refused(self, error: SlipwayError) -> None:
        """Note that the scheduler did not take the request."""
        self._callback = self._receiver
        self._watcher.responded(InferResponse(error=error))
        self._watcher.ended(0)

    def _pass_on(self, response: InferResponse) -> None:
        final = response.final  # the front may change it
        self._watcher.responded(response)
        try:
            self._receiver(response)
        finally:
            if final:
                self._callback = self._receiver  # this method is a reference cycle
                if self._timing is None and self.observe is not None:
                    self._is_executing = True
                else:
                    self._watcher.ended(self.responses)
