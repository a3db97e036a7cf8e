"""Which calls to other models belong to which requests: when nobody waits for any request of a batch, its calls end.

In thread mode the model's calls find the batch that is being executed through a context variable, which coroutines
inherit and threads that the model starts do not; calls of those belong to no batch, and the model cancels them itself.
For a child process, `process/child_server.py` sends the batch with the call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Final

from slipway.backends.python.server import Cancel
from slipway.core.pending import Deliver, Pending
from slipway.core.request import InferResponse


def is_unwanted(requests: Sequence[Pending]) -> bool:
    """Return whether nobody waits for a response to any of `requests`, and at least one of them was cancelled."""
    return any(each.cancelled for each in requests) and all(each.cancelled or each.finished for each in requests)


class BatchCalls:
    """The open calls of one batch of requests, which is not empty."""

    def __init__(self, requests: Sequence[Pending]) -> None:
        self._requests = requests
        self._open: set[_Call] = set()
        self._watching = False

    def submit(self, start: Callable[[Deliver], Cancel], deliver: Deliver) -> Cancel:
        """Start a call, from any thread; `start` gets the function for its responses and returns what cancels it."""
        call = _Call(self, deliver)
        call.cancel = start(call.receive)
        self._requests[0].loop.call_soon_threadsafe(self._begin, call)
        return call.cancel

    def _begin(self, call: _Call) -> None:
        """Watch over a call; on the event-loop thread."""
        if call.ended:
            return
        self._open.add(call)
        if not self._watching:
            self._watching = True
            for each in self._requests:
                each.on_cancel(_Watch(self))
        self.check()

    def end(self, call: _Call) -> None:
        """Forget a call; without any, the requests forget the batch, because they may be executed again."""
        self._open.discard(call)
        if self._watching and not self._open:
            self._watching = False
            for each in self._requests:
                each.forget(_Watch)

    def check(self) -> None:
        """Cancel the open calls if nobody waits any more."""
        if self._open and is_unwanted(self._requests):
            for call in list(self._open):
                call.cancel()
            self._open.clear()


class _Watch:
    """What a request runs when it is cancelled."""

    __slots__ = ("_batch",)

    def __init__(self, batch: BatchCalls) -> None:
        self._batch = batch

    def __call__(self) -> None:
        self._batch.check()


class _Call:
    """One call, until its final response."""

    __slots__ = ("_batch", "_deliver", "cancel", "ended")

    def __init__(self, batch: BatchCalls, deliver: Deliver) -> None:
        self._batch = batch
        self._deliver = deliver
        self.cancel: Cancel
        self.ended = False

    def receive(self, response: InferResponse) -> None:
        """Pass a response on."""
        if response.final:
            self.ended = True
            self._batch.end(self)
        self._deliver(response)


CURRENT: Final[ContextVar[BatchCalls | None]] = ContextVar("CURRENT", default=None)
