"""What a stream may hold: a message beyond the budget of all connections is one error response, and responses that wait
for a thread are limited like those that wait for the client."""

from __future__ import annotations

import asyncio
import struct
from threading import Event

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from slipway.core.budget import Budget
from slipway.core.large_work import LARGE
from slipway.core.tensor import Tensor
from slipway.errors import Code
from slipway.rpc import stream as stream_module
from slipway.rpc.in_flight import InFlight
from slipway.rpc.status import GRPC_STATUS, RESOURCE_EXHAUSTED
from slipway.rpc.stream import InferStream, StreamFailedError
from slipway.rpc.unread import Unread
from tests.kits.memory_dataplane import Model, answer, signature, until_cancelled
from tests.rpc.models import dataplane

COUNT = 100_000


def message(request_id: str, model: str, name: str, datatype: str, count: int, raw: bytes) -> bytes:
    """Return a request with one input."""
    made = service_pb2.ModelInferRequest(model_name=model, id=request_id, raw_input_contents=[raw])
    made.inputs.add(name=name, datatype=datatype, shape=[count])
    return made.SerializeToString()


def small(request_id: str) -> bytes:
    """Return a request that takes nothing from the budget."""
    return message(request_id, "early", "INPUT0", "FP32", 1, bytes(4))


def numbers(request_id: str) -> bytes:
    """Return a large request that is decoded on the loop."""
    return message(request_id, "early", "INPUT0", "FP32", COUNT, bytes(4 * COUNT))


def strings(request_id: str) -> bytes:
    """Return a large request that is decoded in a thread."""
    return message(request_id, "text", "TEXT", "BYTES", COUNT, (struct.pack("<I", 1) + b"x") * COUNT)


async def receive(stream: InferStream, payload: bytes, *, large: bool) -> None:
    """Hand a message to the stream, as the engine does."""
    if large:
        await stream.receive_large(payload)
    else:
        stream.receive(payload)


async def answers(stream: InferStream) -> list[tuple[str, str]]:
    """Return id and error of every response."""
    found = []
    while (answer := await asyncio.wait_for(stream.next_answer(), 20)) is not None:
        response = service_pb2.ModelStreamInferResponse.FromString(answer)
        found.append((response.infer_response.id, response.error_message))
    return found


@pytest.mark.parametrize(("make", "large"), [(numbers, False), (strings, True)])
def test_a_message_beyond_the_budget_is_an_error_in_its_place(make, large):
    async def run():
        budget = Budget(1000)
        in_flight = InFlight(budget)
        stream = InferStream(dataplane(), in_flight, errors_end_stream=False)
        stream.receive(small("a"))
        await receive(stream, make("b"), large=large)
        budget.limit = 10 * len(make("c"))
        await receive(stream, make("c"), large=large)
        stream.receive(small("d"))
        stream.end_input()
        return await answers(stream), budget.held, in_flight.count

    found, held, open_requests = asyncio.run(run())
    refusal = "the server holds as many requests as its memory allows; try again later"
    assert found == [("a", ""), ("b", refusal), ("c", ""), ("d", "")]
    assert (held, open_requests) == (0, 0)


@pytest.mark.parametrize(("make", "large"), [(numbers, False), (strings, True)])
def test_with_triton_grpc_error_it_ends_the_stream(make, large):
    async def run():
        in_flight = InFlight(Budget(1000))
        stream = InferStream(dataplane(), in_flight, errors_end_stream=True)
        await receive(stream, make("b"), large=large)
        with pytest.raises(StreamFailedError) as caught:
            await asyncio.wait_for(stream.next_answer(), 20)
        return caught.value.status, in_flight.count

    assert asyncio.run(run()) == (GRPC_STATUS[Code.UNAVAILABLE], 0)


def test_a_large_message_is_counted_and_held_until_its_thread_has_read_it(monkeypatch):
    began, released = Event(), Event()
    inner = stream_module.read_request

    def read(payload, regions):
        began.set()
        released.wait(20)
        return inner(payload, regions)

    monkeypatch.setattr(stream_module, "read_request", read)

    async def run():
        budget = Budget(1 << 30)
        in_flight = InFlight(budget)
        stream = InferStream(dataplane(), in_flight, errors_end_stream=False)
        payload = strings("a")
        reader = asyncio.ensure_future(stream.receive_large(payload))
        await asyncio.to_thread(began.wait, 20)
        assert (in_flight.count, budget.held) == (1, len(payload))
        stream.cancel()
        reader.cancel()
        await asyncio.wait([reader])
        assert (in_flight.count, budget.held) == (0, len(payload))  # the thread goes on
        reading = set(stream._large)
        released.set()
        await asyncio.wait(reading, timeout=20)
        return budget.held, in_flight.count

    assert asyncio.run(run()) == (0, 0)


def test_a_message_that_cannot_be_parsed_leaves_the_budget():
    async def run():
        budget = Budget(1 << 30)
        in_flight = InFlight(budget)
        stream = InferStream(dataplane(), in_flight, errors_end_stream=False)
        await stream.receive_large(b"\xff" * 300_000)
        with pytest.raises(StreamFailedError) as caught:
            await asyncio.wait_for(stream.next_answer(), 20)
        return caught.value.status, budget.held, in_flight.count

    assert asyncio.run(run()) == (GRPC_STATUS[Code.INTERNAL], 0, 0)


def text_flood(plane, pending):
    """Send the same many strings, 1.6 MB at a time, until the request is cancelled."""
    until_cancelled(plane, pending)
    _send_texts(plane, pending, np.full(COUNT, b"0123456789abcdef", object))


def _send_texts(plane, pending, texts):
    if not pending.cancelled:
        plane.produced += 1
        answer(pending, Tensor.from_array("W", texts), final=plane.produced == 200)
        pending.loop.call_soon(_send_texts, plane, pending, texts)


@pytest.fixture
def slow_preparation(monkeypatch):
    """Return an event for which the threads wait before they prepare a response."""
    go_on, inner = Event(), stream_module.prepare

    def prepare(*given):
        go_on.wait(20)
        return inner(*given)

    monkeypatch.setattr(stream_module, "prepare", prepare)
    return go_on


def test_responses_that_wait_for_a_thread_are_limited(monkeypatch, slow_preparation):
    monkeypatch.setattr(stream_module, "LIMIT_BYTES", 16 * 2**20)

    async def run():
        plane, in_flight = dataplane(), InFlight(Budget(1 << 30))
        plane.models["words"] = Model(signature("words", "N INT32 1", "W BYTES -1", decoupled=True), text_flood)
        plane.statistics["words"] = plane.statistics["count"]
        stream = InferStream(plane, in_flight, errors_end_stream=False)
        stream.receive(message("f", "words", "N", "INT32", 1, bytes(4)))
        with pytest.raises(StreamFailedError) as caught:
            await asyncio.wait_for(stream.next_answer(), 20)
        slow_preparation.set()
        await asyncio.wait(stream._large, timeout=20)
        return caught.value.status, plane.produced, in_flight.count

    status, produced, open_requests = asyncio.run(run())
    assert (status, open_requests) == (RESOURCE_EXHAUSTED, 0)
    assert produced < 50  # of 200; a lower bound of their size counts


def test_no_more_is_read_while_much_waits_for_a_thread(monkeypatch, slow_preparation):
    monkeypatch.setattr(stream_module, "PAUSE_BYTES", 2**16)

    async def run():
        stream = InferStream(dataplane(), InFlight(Budget(1 << 30)), errors_end_stream=False)
        stream.receive(message("a", "surrogate", "INPUT0", "FP32", COUNT, bytes(4 * COUNT)))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stream.room(), 0.1)
        slow_preparation.set()
        await asyncio.wait_for(stream.next_answer(), 20)
        await asyncio.wait_for(stream.room(), 20)
        return stream._unread.size

    assert asyncio.run(run()) == 0


def test_what_many_streams_leave_unread_is_limited_by_the_budget():
    async def run():
        budget = Budget(100_000)
        in_flight, plane = InFlight(budget), dataplane()
        streams = [InferStream(plane, in_flight, errors_end_stream=False) for _ in range(3)]
        payload = message("a", "early", "INPUT0", "FP32", 16_000, bytes(64_000))  # small: takes nothing itself
        for stream in streams:
            while stream._room.is_set() and stream._unread.size < 1 << 20:
                stream.receive(payload)
                await asyncio.sleep(0)  # the model answers
        sizes, held = [stream._unread.size for stream in streams], budget.held
        for stream in streams:
            while stream._outgoing:
                await stream.next_answer()
        rooms, left = [stream._room.is_set() for stream in streams], budget.held
        streams[0].receive(payload)
        for stream in streams:
            stream.cancel()
        return sizes, held, rooms, left, budget.held

    sizes, held, rooms, left, after = asyncio.run(run())
    assert 0 < held <= 100_000
    assert max(sizes) < 256 * 2**10 + 100_000 + 2 * 65_000
    assert rooms == [True, True, True]
    assert left == after == 0


def test_a_decoupled_stream_ends_once_the_budget_is_spent():
    async def run():
        budget = Budget(3 << 20)
        plane, in_flight = dataplane(), InFlight(budget)
        stream = InferStream(plane, in_flight, errors_end_stream=False)
        stream.receive(message("f", "flood", "N", "INT32", 1, bytes(4)))
        while stream._failure is None:  # noqa: ASYNC110  nobody reads
            await asyncio.sleep(0)
        with pytest.raises(StreamFailedError) as caught:
            await stream.next_answer()
        return caught.value.status, plane.produced, budget.held

    status, produced, held = asyncio.run(asyncio.wait_for(run(), 30))
    assert (status, held) == (RESOURCE_EXHAUSTED, 0)
    assert produced == 4


def test_a_stream_that_has_ended_takes_nothing_from_the_budget():
    budget = Budget(1 << 20)
    unread = Unread(InFlight(budget))
    unread.change(LARGE + 10)
    assert budget.held == 10
    unread.change(-20)
    assert budget.held == 0
    unread.change(100)
    unread.close()
    unread.change(1 << 30)
    unread.change(-100)
    assert (budget.held, unread.is_too_much) == (0, False)
