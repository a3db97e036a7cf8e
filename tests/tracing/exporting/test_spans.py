"""The spans of a trace: Triton's names and attributes, each a child of the right one, with the right times."""

from __future__ import annotations

import json
from itertools import count

import pytest

from slipway.core.request import InferRequest, InferResponse
from slipway.core.statistics import Timing
from slipway.errors import invalid
from slipway.tracing.context import RemoteContext
from slipway.tracing.exporting.messages import decode_traces
from slipway.tracing.moments import GRPC_SEND_END, GRPC_WAITREAD_END
from slipway.tracing.record import SIZE_BYTES, encode_trace, pack_messages
from slipway.tracing.settings import TraceSetting
from slipway.tracing.trace import RequestTrace, TraceContext, TraceRoot

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanKind, StatusCode

from slipway.tracing.exporting.spans import SpanMaker, span_count

REMOTE = RemoteContext(0xABC, 0xDEF, is_sampled=True, state="a=b")


class Owner:
    """The owner of all traces, which does not keep them."""

    def completed(self, root: TraceRoot) -> None:
        assert root.open == 0

    def know(self, trace: RequestTrace) -> None:
        assert trace.root.open > 0 or trace.number


def begin(remote: RemoteContext | None = None) -> RequestTrace:
    setting = TraceSetting(("TIMESTAMPS",), 1, -1, 0)
    trace = RequestTrace(TraceRoot(setting, TraceContext(remote), Owner()))
    trace.stamp(GRPC_WAITREAD_END, 5)
    return trace


def run(trace: RequestTrace, model: str, *responses: InferResponse, **kind: bool) -> None:
    request = InferRequest(model, id="7")
    trace.accepted(request, 3, 10, is_ensemble=kind.get("ensemble", False), is_decoupled=kind.get("decoupled", False))
    trace.executed(Timing(20, 30, 40, 50))
    for response in responses:
        trace.responded(response)
    trace.ended(len(responses))


def spans(trace: RequestTrace) -> dict[str, object]:
    """Return the spans by name; they are all different."""
    (message,) = pack_messages([encode_trace(trace.root)])
    (record,) = decode_traces(message[SIZE_BYTES:])
    record.context.offset = 1000
    made = SpanMaker(Resource({"service.name": "s"}), count(1).__next__).spans(record)
    assert span_count(record) == len(made)
    by_name = {span.name: span for span in made}
    assert len(by_name) == len(made)
    return by_name


def parents(found: dict[str, object]) -> dict[str, str | None]:
    names = {span.context.span_id: name for name, span in found.items()}
    return {name: span.parent and names.get(span.parent.span_id, "remote") for name, span in found.items()}


def test_a_request_has_spans_for_front_model_queue_and_execution():
    trace = begin()
    run(trace, "simple", InferResponse())
    trace.stamp(GRPC_SEND_END, 2**60)
    found = spans(trace)
    assert parents(found) == {"InferRequest": None, "simple": "InferRequest", "queue": "simple", "compute": "simple"}
    assert {span.context.trace_id for span in found.values()} == {trace.root.context.trace_id}
    front, compute = found["InferRequest"], found["compute"]
    assert (front.start_time, front.end_time) == (1005, 1000 + 2**60)
    assert front.kind is SpanKind.SERVER
    assert [event.name for event in front.events] == [
        "GRPC_WAITREAD_END", "INFER_RESPONSE_COMPLETE", "GRPC_SEND_END",
    ]  # fmt: skip
    assert (compute.start_time, compute.end_time) == (1020, 1050)
    assert [(event.name, event.timestamp) for event in compute.events] == [
        ("COMPUTE_START", 1020), ("COMPUTE_INPUT_END", 1030), ("COMPUTE_OUTPUT_START", 1040), ("COMPUTE_END", 1050),
    ]  # fmt: skip
    assert [event.name for event in found["queue"].events] == ["QUEUE_START", "COMPUTE_START"]
    assert found["simple"].start_time == 1010
    assert dict(found["simple"].attributes) == {
        "triton.model_name": "simple",
        "triton.model_version": 3,
        "triton.trace_id": trace.number,
        "triton.trace_parent_id": 0,
        "triton.request_id": "7",
    }
    assert found["simple"].resource.attributes["service.name"] == "s"


def test_a_request_that_is_executed_several_times_has_one_span_for_all_of_them():
    trace = begin()
    trace.executed(Timing(11, 12, 13, 14))
    run(trace, "iterative", InferResponse())
    found = spans(trace)
    queue, compute = found["queue"], found["compute"]
    assert queue.events[-1].timestamp == compute.start_time == 1011
    assert compute.end_time == 1050
    assert len(compute.events) == 8


def test_the_context_of_a_client_is_continued():
    trace = begin(REMOTE)
    run(trace, "simple", InferResponse())
    found = spans(trace)
    assert {span.context.trace_id for span in found.values()} == {0xABC}
    assert found["InferRequest"].parent.span_id == 0xDEF
    assert found["InferRequest"].parent.is_remote
    assert found["simple"].context.trace_state.get("a") == "b"


def test_what_a_model_gets_leads_to_its_span():
    trace = begin(REMOTE)
    run(trace, "simple", InferResponse())
    text = json.loads(trace.reference().context)
    assert text == {
        "traceparent": f"00-{0xABC:032x}-{spans(trace)['simple'].context.span_id:016x}-01",
        "tracestate": "a=b",
    }


def test_steps_are_children_of_the_ensemble():
    trace = begin()
    trace.accepted(InferRequest("chain"), 1, 10, is_ensemble=True, is_decoupled=False)
    step = trace.child()
    run(step, "step", InferResponse())
    trace.responded(InferResponse())
    trace.ended(1)
    found = spans(trace)
    assert parents(found) == {
        "InferRequest": None,
        "chain": "InferRequest",
        "step": "chain",
        "queue": "step",
        "compute": "step",
    }
    assert found["step"].attributes["triton.trace_parent_id"] == trace.number


def test_generation_has_a_span_with_an_event_per_response():
    trace = begin()
    run(trace, "tokens", *[InferResponse(final=False) for _ in range(3)], InferResponse(empty=True), decoupled=True)
    generation = spans(trace)["generation"]
    assert [event.name for event in generation.events] == ["COMPUTE_START", *["RESPONSE"] * 4, "REQUEST_END"]
    assert generation.attributes["slipway.response_count"] == 4


def test_a_long_generation_has_a_bounded_number_of_events():
    trace = begin()
    run(trace, "tokens", *[InferResponse(final=False) for _ in range(3000)], InferResponse(empty=True), decoupled=True)
    assert all(len(span.events) <= 128 for span in spans(trace).values())


def test_a_failure_is_the_status_of_its_spans():
    trace = begin()
    run(trace, "simple", InferResponse(error=invalid("no")))
    found = spans(trace)
    assert {name: span.status.description for name, span in found.items() if not span.status.is_ok} == {
        "InferRequest": "no",
        "simple": "no",
    }
    assert found["simple"].status.status_code is StatusCode.ERROR


def test_a_request_that_no_model_accepted_has_the_span_of_the_front():
    trace = begin()
    trace.error = "unknown model"
    (front,) = spans(trace).values()
    assert (front.name, front.status.description) == ("InferRequest", "unknown model")
