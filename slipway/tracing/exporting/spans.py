"""The spans of a trace, as OpenTelemetry's SDK exports them: names, attributes and events are NVIDIA Triton's.

InferRequest            the front, with its moments; a child of the client's span, if the request has a context
  MODEL                 REQUEST_START to REQUEST_END
    queue               until the execution
    compute             the execution, with its moments
    generation          of a decoupled model: the execution until the last response, with an event per response
    MODEL               a step of an ensemble, or a request of the model itself (BLS)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode

from slipway.tracing.moments import COMPUTE_START, NAMES
from slipway.tracing.record import RequestRecord, TraceRecord

ROOT: Final = "InferRequest"
_SCOPE: Final = InstrumentationScope("triton-server")
_RESPONSE: Final = "INFER_RESPONSE_COMPLETE"
_MAX_EVENTS: Final = 128  # of a span, the SDK's own default
_OF_MODEL: Final = ("REQUEST_START", "QUEUE_START", "REQUEST_END")
_OF_COMPUTE: Final = ("COMPUTE_START", "COMPUTE_INPUT_END", "COMPUTE_OUTPUT_START", "COMPUTE_END")

Moments = Sequence[tuple[str, int]]  # names, with Unix times in nanoseconds


def span_count(trace: TraceRecord) -> int:
    """Return how many spans `SpanMaker.spans` makes of a trace."""
    if trace.context is None:
        return 0
    count = 0
    for request in trace.requests:
        parts = 2 + request.is_decoupled if COMPUTE_START in request.moments[::2] else 0
        count += (not request.parent) + (1 + parts if request.model else 0)
    return count


MakeContext = Callable[[int], SpanContext]


class SpanMaker:
    """Makes the spans of traces; `new_span_id` returns a random id."""

    def __init__(self, resource: Resource, new_span_id: Callable[[], int]) -> None:
        self._resource = resource
        self._new_span_id = new_span_id

    def spans(self, trace: TraceRecord) -> list[ReadableSpan]:
        """Return the spans of a trace, parents first; none of a trace without a context."""
        ids = trace.context
        if ids is None:
            return []
        trace_id = int(ids.trace, 16)
        state = TraceState.from_header([ids.state]) if ids.state else TraceState()

        def context(span_id: int) -> SpanContext:
            return SpanContext(trace_id, span_id, False, TraceFlags(TraceFlags.SAMPLED), state)

        root = context(int(ids.span, 16))
        remote = None
        if ids.remote:
            remote = SpanContext(trace_id, int(ids.remote, 16), True, TraceFlags(TraceFlags.SAMPLED), state)
        models = {request.number: context(int(request.span, 16)) for request in trace.requests}
        spans: list[ReadableSpan] = []
        for request in trace.requests:
            moments = _moments(request.moments, ids.offset)
            if not request.parent:
                spans.append(self._front(root, remote, moments, request))
            if request.model:
                own = models[request.number]
                spans.append(self._model(own, models.get(request.parent, root), moments, request))
                spans += self._parts(context, own, moments, request)
        return spans

    def _front(
        self, own: SpanContext, remote: SpanContext | None, moments: Moments, request: RequestRecord
    ) -> ReadableSpan:
        inside = (*_OF_MODEL, *_OF_COMPUTE)
        events = [moment for moment in moments if moment[0] not in inside]
        return self._span(ROOT, own, remote, events or moments, error=request.error, kind=SpanKind.SERVER)

    def _model(self, own: SpanContext, parent: SpanContext, moments: Moments, request: RequestRecord) -> ReadableSpan:
        attributes: dict[str, Any] = {
            "triton.model_name": request.model,
            "triton.model_version": request.version,
            "triton.trace_id": request.number,
            "triton.trace_parent_id": request.parent,
        }
        if request.request_id:
            attributes["triton.request_id"] = request.request_id
        events = [moment for moment in moments if moment[0] in _OF_MODEL]
        return self._span(request.model, own, parent, events, error=request.error, attributes=attributes)

    def _parts(
        self, context: MakeContext, parent: SpanContext, moments: Moments, request: RequestRecord
    ) -> Iterator[ReadableSpan]:
        """Yield the spans of what happened to a request that was executed, perhaps several times."""
        times = dict(reversed(moments))  # the first of each
        if "COMPUTE_START" not in times:
            return
        queue = [("QUEUE_START", times["QUEUE_START"]), ("COMPUTE_START", times["COMPUTE_START"])]
        yield self._span("queue", context(self._new_span_id()), parent, queue)
        compute = [moment for moment in moments if moment[0] in _OF_COMPUTE]
        yield self._span("compute", context(self._new_span_id()), parent, compute)
        if request.is_decoupled:
            generation = [
                ("COMPUTE_START", times["COMPUTE_START"]),
                *(("RESPONSE", time) for name, time in moments if name == _RESPONSE),
                ("REQUEST_END", times.get("REQUEST_END", compute[-1][1])),
            ]
            attributes = {"slipway.response_count": request.responses}
            yield self._span("generation", context(self._new_span_id()), parent, generation, attributes=attributes)

    def _span(
        self,
        name: str,
        own: SpanContext,
        parent: SpanContext | None,
        events: Moments,
        *,
        error: str = "",
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, Any] | None = None,
    ) -> ReadableSpan:
        """Return a span from the first to the last of its events."""
        times = [time for _, time in events] or [0]
        return ReadableSpan(
            name,
            own,
            parent,
            self._resource,
            attributes or {},
            [Event(event, timestamp=time) for event, time in events[:_MAX_EVENTS]],
            kind=kind,
            status=Status(StatusCode.ERROR, error) if error else Status(StatusCode.UNSET),
            start_time=min(times),
            end_time=max(times),
            instrumentation_scope=_SCOPE,
        )


def _moments(flat: Sequence[int], offset: int) -> Moments:
    return [(NAMES[moment], time + offset) for moment, time in zip(flat[::2], flat[1::2], strict=True)]
