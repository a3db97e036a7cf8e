"""The gRPC side of traced requests: when each came, and when its response went. Other requests never get here.

Triton's GRPC_WAITREAD_START is when a call slot began to wait for a request; there are no slots here, so it is when the
request came, like GRPC_WAITREAD_END.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from time import monotonic_ns
from typing import Any, Final, NamedTuple

from slipway.core.request import InferRequest
from slipway.errors import SlipwayError
from slipway.tracing.context import TRACEPARENT, TRACESTATE
from slipway.tracing.moments import GRPC_SEND_END, GRPC_SEND_START, GRPC_WAITREAD_END, GRPC_WAITREAD_START
from slipway.tracing.trace import RequestTrace
from slipway.tracing.tracing import Tracing

Metadata = Iterable[Sequence[Any]]  # keys with their values


class Clients(NamedTuple):
    """How an engine's handle to a client is read: the metadata that it sent, and its address."""

    metadata: Callable[[Any], Metadata]
    peer: Callable[[Any], str]


_HEADERS: Final = frozenset({TRACEPARENT, TRACESTATE})
UNKNOWN: Final = Clients(lambda _: (), lambda _: "")


def begin_trace(tracing: Tracing, request: InferRequest, metadata: Metadata) -> RequestTrace | None:
    """Give a request its trace, and return that; None if it is not traced."""
    if tracing.has_context:
        found = {key: value for key, value in metadata if key in _HEADERS}
        trace = tracing.begin(request.model_name, str(found.get(TRACEPARENT, "")), str(found.get(TRACESTATE, "")))
    else:
        trace = tracing.begin(request.model_name)
    if trace is not None:
        now = monotonic_ns()
        trace.moments = [GRPC_WAITREAD_START, now, GRPC_WAITREAD_END, now]
        request.trace = trace
    return trace


def note_failure(trace: RequestTrace, error: SlipwayError) -> None:
    """Note an error of the front: that the model did not take the request, or that its response cannot be sent."""
    trace.error = error.message


def note_sent(trace: RequestTrace, begin_ns: int) -> None:
    """Note that the only response is sent, since `begin_ns`, and the front has nothing more to do."""
    trace.sent(GRPC_SEND_START, begin_ns, GRPC_SEND_END)


def begin_sending(trace: RequestTrace) -> None:
    """Note that a response of a stream is about to be sent."""
    trace.stamp(GRPC_SEND_START, monotonic_ns())


def end_sending(trace: RequestTrace) -> None:
    """Note that the last response is sent, and the front has nothing more to do."""
    trace.stamp(GRPC_SEND_END, monotonic_ns())
    trace.root.close()
