"""What the calls of the asyncio engine leave behind when clients give them up, and what they hold meanwhile."""

from __future__ import annotations

import asyncio

from slipway.core.budget import Budget
from slipway.rpc.asyncio_engine import AsyncioEngine
from slipway.rpc.http2 import frames
from slipway.rpc.in_flight import InFlight
from slipway.rpc.options import GrpcOptions
from slipway.rpc.service import MODEL_STREAM_INFER, Service
from tests.rpc.http2.test_connection import OPENING, Client, head
from tests.rpc.models import dataplane


class EngineClient(Client):
    """A client of the engine; its messages count in `budget`."""

    def __init__(self):
        super().__init__()
        plane, self.budget = dataplane(), Budget(10 << 20)
        in_flight = InFlight(self.budget)
        self.engine = AsyncioEngine(plane, Service(plane, in_flight), in_flight, GrpcOptions())
        self.connection._front = self.engine
        self.say(OPENING)


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
