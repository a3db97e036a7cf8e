"""The budget of all connections as a stream uses it: a message that does not fit is one error response."""

from __future__ import annotations

import asyncio
import struct
from threading import Event

import pytest
from tritonclient.grpc import service_pb2

from slipway.core.budget import Budget
from slipway.errors import Code
from slipway.rpc import stream as stream_module
from slipway.rpc.in_flight import InFlight
from slipway.rpc.status import GRPC_STATUS
from slipway.rpc.stream import InferStream, StreamFailedError
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

    def read(payload):
        began.set()
        released.wait(20)
        return inner(payload)

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
