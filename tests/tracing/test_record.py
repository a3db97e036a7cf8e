"""Traces travel whole and in order, in messages of a bounded size."""

from __future__ import annotations

import msgspec

from slipway.core.request import InferRequest, InferResponse
from slipway.tracing.exporting.messages import decode_traces
from slipway.tracing.record import SIZE_BYTES, encode_trace, pack_messages
from slipway.tracing.settings import TraceSetting
from slipway.tracing.trace import RequestTrace, TraceRoot


def encoded(request_id: str) -> bytes:
    trace = RequestTrace(TraceRoot(TraceSetting(("TIMESTAMPS",), 1, -1, 0), None, None))
    trace.root.open += 1
    trace.accepted(InferRequest("m", id=request_id), 1, 0, is_ensemble=False, is_decoupled=False)
    trace.responded(InferResponse())
    return encode_trace(trace.root)


def decoded(messages: list[bytes]) -> list[str]:
    for message in messages:
        assert int.from_bytes(message[:SIZE_BYTES], "little") == len(message) - SIZE_BYTES
    return [trace.requests[0].request_id for message in messages for trace in decode_traces(message[SIZE_BYTES:])]


def test_traces_of_one_message_keep_their_order():
    ids = [str(number) for number in range(1000)]
    messages = list(pack_messages([encoded(each) for each in ids]))
    assert len(messages) == 1
    assert decoded(messages) == ids


def test_a_message_ends_once_it_is_large():
    ids = [str(number) + "x" * 400_000 for number in range(8)]
    messages = list(pack_messages([encoded(each) for each in ids]))
    assert [len(msgspec.msgpack.decode(message[SIZE_BYTES:])) for message in messages] == [3, 3, 2]
    assert decoded(messages) == ids


def test_nothing_makes_no_message():
    assert list(pack_messages([])) == []


def test_half_a_character_becomes_a_question_mark():
    assert decoded(list(pack_messages([encoded("a\ud800b")]))) == ["a?b"]
