"""The trace of an HTTP request ends once, however its response ends."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from slipway.core.request import InferRequest
from slipway.rest.framing import HttpHead
from slipway.rest.traced import TracedExchange, submit
from slipway.tracing.settings import TraceSetting
from slipway.tracing.trace import RequestTrace, TraceRoot


class Channel:
    """Sends nothing."""

    def decide_to_close(self, _):
        return False

    def send(self, exchange, data):
        pass

    def finish(self, exchange, parts, *, close=False):
        pass


class Plane:
    """Traces each request, and answers it with `answer` at once."""

    def __init__(self, answer):
        self.completed = []
        self.has_context = False
        self.tracing = self
        self._answer = answer

    def begin(self, _):
        owner = SimpleNamespace(completed=self.completed.append)
        return RequestTrace(TraceRoot(TraceSetting(("TIMESTAMPS",), 1, -1, 0), None, owner))

    def submit(self, *_):
        self._answer()
        return SimpleNamespace(finished=True, cancel=lambda: None)


def nothing(exchange):
    """The response is still being encoded in a thread."""


def whole(exchange):
    exchange.answer(200)


def beginning(exchange):
    """The rest is still being encoded in a thread."""
    exchange.begin_stream(200, b"")


def stream(exchange):
    exchange.begin_stream(200, b"")
    exchange.end_stream()


@pytest.mark.parametrize("answer", [nothing, whole, beginning, stream])
def test_a_trace_is_complete_when_the_client_has_gone(answer):
    exchange = TracedExchange(Channel(), HttpHead(b"POST", b"/", {}, keep_alive=True, takes_chunks=True), b"")
    plane = Plane(lambda: answer(exchange))
    submit(plane, exchange, InferRequest("m"), None)
    exchange.disconnected(lambda: None)
    assert len(plane.completed) == 1
