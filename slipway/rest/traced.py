"""The HTTP side of traced requests: when each came, and when its response went. Other requests never get here."""

from __future__ import annotations

from functools import partial
from time import monotonic_ns
from typing import ClassVar

from slipway.core.pending import Deliver, Pending
from slipway.core.request import InferRequest
from slipway.core.shared_bytes import Body
from slipway.engine.api import Dataplane
from slipway.errors import SlipwayError
from slipway.rest.connection import HttpConnection
from slipway.rest.exchange import Channel, Exchange
from slipway.rest.framing import HttpHead, Phase
from slipway.tracing.context import TRACEPARENT, TRACESTATE
from slipway.tracing.moments import HTTP_RECV_END, HTTP_RECV_START, HTTP_SEND_END, HTTP_SEND_START
from slipway.tracing.trace import RequestTrace
from slipway.tracing.tracing import Tracing

_TRACEPARENT, _TRACESTATE = TRACEPARENT.encode(), TRACESTATE.encode()


class TracedExchange(Exchange):
    """A request that may be traced: it knows when it began to arrive, and notes when its response is sent."""

    __slots__ = ("began_ns", "trace")

    def __init__(self, channel: Channel, head: HttpHead, body: Body) -> None:
        Exchange.__init__(self, channel, head, body)  # in less time than with `super`
        self.began_ns = 0
        self.trace: RequestTrace | None = None

    def answer(self, status: int, headers: bytes = b"", *parts: bytes | memoryview) -> None:
        """Send the whole response, and note when."""
        trace = self.trace
        if trace is None or self.answered:
            Exchange.answer(self, status, headers, *parts)
            return
        self.trace = None
        begin = monotonic_ns()
        Exchange.answer(self, status, headers, *parts)
        trace.sent(HTTP_SEND_START, begin, HTTP_SEND_END)

    def begin_stream(self, status: int, headers: bytes) -> None:
        """Send the head of a response of unknown length, and note when."""
        if self.trace is not None and not self.answered:
            self.trace.stamp(HTTP_SEND_START, monotonic_ns())
        super().begin_stream(status, headers)

    def end_stream(self) -> None:
        """Send the end of a streamed response, and note when."""
        super().end_stream()
        if self.trace is not None:
            self.trace.stamp(HTTP_SEND_END, monotonic_ns())
            self.end_trace()

    def end_trace(self) -> None:
        """Note that nothing more will be sent."""
        trace, self.trace = self.trace, None
        if trace is not None:
            trace.root.close()


class TimedConnection(HttpConnection):
    """A connection of a server that can trace requests."""

    __slots__ = ("_first_ns",)
    exchange_type: ClassVar[type[Exchange]] = TracedExchange

    def data_received(self, data: bytes) -> None:
        """Note the time of the first byte of a request."""
        if self._framing.phase is Phase.IDLE:
            self._first_ns = monotonic_ns()
        HttpConnection.data_received(self, data)

    def _start(self, exchange: Exchange) -> None:
        if isinstance(exchange, TracedExchange):
            exchange.began_ns = self._first_ns
        super()._start(exchange)


def submit(dataplane: Dataplane, exchange: Exchange, request: InferRequest, deliver: Deliver) -> Pending:
    """Submit a request to a server that traces some, and return it; raise `SlipwayError` if it is refused."""
    trace = _begin(dataplane.tracing, exchange, request)
    if trace is None or not isinstance(exchange, TracedExchange):
        pending = dataplane.submit(request, deliver)
        if not pending.finished:
            exchange.on_disconnect = pending.cancel
        return pending
    now = monotonic_ns()
    trace.moments = [HTTP_RECV_START, exchange.began_ns or now, HTTP_RECV_END, now]
    request.trace = exchange.trace = trace
    try:
        pending = dataplane.submit(request, deliver)
    except SlipwayError as error:
        if exchange.trace is not None:
            exchange.trace.error = error.message
        raise
    if exchange.trace is not None or not pending.finished:  # the rest of a response may still be being encoded
        exchange.on_disconnect = partial(_give_up, pending, exchange)
    return pending


def _begin(tracing: Tracing, exchange: Exchange, request: InferRequest) -> RequestTrace | None:
    """Return the trace of a request; None if it is not traced."""
    headers = exchange.headers
    if not tracing.has_context or _TRACEPARENT not in headers:
        return tracing.begin(request.model_name)
    state = headers.get(_TRACESTATE, b"").decode("latin-1")
    return tracing.begin(request.model_name, headers[_TRACEPARENT].decode("latin-1"), state)


def _give_up(pending: Pending, exchange: TracedExchange) -> None:
    pending.cancel()
    exchange.end_trace()
