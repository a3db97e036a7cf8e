"""What the calls of the asyncio engine leave behind when clients give them up, and what they hold meanwhile."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import random

import pytest
from tritonclient.grpc import service_pb2

from slipway.core.budget import Budget
from slipway.rpc import receivers
from slipway.rpc.asyncio_engine import AsyncioEngine
from slipway.rpc.http2 import frames
from slipway.rpc.http2.frames import frame
from slipway.rpc.http2.heads import field
from slipway.rpc.in_flight import InFlight
from slipway.rpc.options import GrpcOptions
from slipway.rpc.service import MODEL_INFER, MODEL_STREAM_INFER, Service
from tests.rpc.http2.test_connection import OPENING, Client, data, head, message, setting, window
from tests.rpc.models import dataplane

LARGE = 300_000


class CountedBudget(Budget):
    """Keeps what was held each time that more was taken."""

    def __init__(self, limit):
        super().__init__(limit)
        self.before = []

    def take(self, size):
        self.before.append(self.held)
        return super().take(size)


class EngineClient(Client):
    """A client of the engine; its messages count in `budget`."""

    def __init__(self):
        super().__init__()
        plane, self.budget = dataplane(), CountedBudget(10 << 20)
        in_flight = InFlight(self.budget)
        self.engine = AsyncioEngine(plane, Service(plane, in_flight), in_flight, GrpcOptions())
        self.connection._front = self.engine
        self.say(OPENING, setting(frames.INITIAL_WINDOW_SIZE, 2**30), window(0, 2**30))


def test_streams_that_are_reset_before_they_begin_leave_nothing_behind():
    async def run():
        client = EngineClient()
        for stream in range(1, 21, 2):
            client.say(head(stream, MODEL_STREAM_INFER), frames.reset(stream, frames.Http2Code.CANCEL))
        assert len(client.engine._streams) == 10
        for _ in range(4):
            await asyncio.sleep(0)
        return len(client.engine._streams), len(asyncio.all_tasks())

    assert asyncio.run(run()) == (0, 1)


def asking(flag):
    """Return a request whose message is large, as it is or compressed, and the part of it that is large."""
    asked = service_pb2.ModelInferRequest(model_name="identity")
    asked.inputs.add(name="INPUT0", datatype="FP32", shape=[1, LARGE // 4])
    asked.raw_input_contents.append(random.Random(0).randbytes(LARGE))
    payload = asked.SerializeToString()
    return gzip.compress(payload, 0) if flag else payload


@pytest.mark.parametrize("path", [MODEL_INFER, MODEL_STREAM_INFER])
@pytest.mark.parametrize("flag", [0, 1], ids=["plain", "compressed"])
def test_a_large_message_counts_in_the_budget_until_it_is_answered_and_once(path, flag):
    """Also while a client does not say that it is the last message of the call."""

    async def run():
        client = EngineClient()
        payload = asking(flag)
        client.say(head(1, path, more=field("grpc-encoding", "gzip")), data(1, message(payload, flag), end=False))
        assert client.budget.held == len(payload)
        client.say(frame(frames.DATA, frames.END_STREAM, 1))
        while client.connection._calls:  # noqa: ASYNC110  calls have no event for it
            await asyncio.sleep(0.001)
        assert client.budget.before[:2] == [0, 0]  # while the message arrives, and while it is answered
        assert client.budget.held == 0
        ((answer, trailers),) = client.answers().values()
        assert len(answer) > LARGE, trailers
        assert trailers["grpc-status"] == "0"

    asyncio.run(asyncio.wait_for(run(), 30))


def test_a_stream_with_many_messages_leaves_turns_to_others():
    async def run():
        client = EngineClient()
        client.say(head(1, MODEL_STREAM_INFER), data(1, message(b"") * 100, end=False))
        (stream,) = client.engine._streams
        taken, receive = [], stream.receive
        stream.receive = lambda payload: taken.append(payload) or receive(payload)
        turns = [0]
        while len(taken) < 100:
            await asyncio.sleep(0)
            turns.append(len(taken))
        client.connection.connection_lost(None)
        await asyncio.sleep(0)
        assert max(later - earlier for earlier, later in itertools.pairwise(turns)) <= 8

    asyncio.run(run())


@pytest.mark.parametrize("path", [MODEL_INFER, MODEL_STREAM_INFER])
def test_a_message_for_which_there_is_no_memory_is_refused(path, monkeypatch):
    def inflated(*_):
        raise MemoryError

    monkeypatch.setattr(receivers, "inflated", inflated)

    async def run():
        client = EngineClient()
        client.say(head(1, path, more=field("grpc-encoding", "gzip")), data(1, message(asking(1), 1)))
        while client.connection._calls:  # noqa: ASYNC110  as above
            await asyncio.sleep(0.001)
        assert client.answers()[1][1]["grpc-status"] == "14"
        assert client.budget.held == 0

    asyncio.run(asyncio.wait_for(run(), 30))


def test_streams_remember_descriptions_of_requests_together():
    async def run():
        client = EngineClient()
        for stream in (1, 3):
            client.say(head(stream, MODEL_STREAM_INFER))
        one, other = client.engine._streams
        plans = one._plans, other._plans
        client.connection.connection_lost(None)
        await asyncio.sleep(0)
        assert plans == (client.engine._inference.plans,) * 2

    asyncio.run(run())


def test_a_large_message_of_a_call_that_is_given_up_does_not_count_any_more():
    async def run():
        client = EngineClient()
        client.say(
            head(1, MODEL_INFER), data(1, message(asking(0)), end=False), frames.reset(1, frames.Http2Code.CANCEL)
        )
        assert client.budget.held == 0

    asyncio.run(run())
