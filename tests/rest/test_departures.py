"""Clients that disconnect while a thread works for them: what has not begun is dropped, what has stays counted."""

from __future__ import annotations

import asyncio
import json
import threading

import numpy as np
import pytest

from slipway.core.budget import Budget
from slipway.core.tensor import Tensor
from slipway.rest import generate, infer
from slipway.rest.app import build_app
from slipway.rest.connection import HttpConnection, HttpLimits
from slipway.rest.exchange import Exchange
from tests.kits.memory_dataplane import answer, never
from tests.rest.models import dataplane
from tests.rest.test_connection import Wire

COUNT = 100_000
NUMBERS = {"inputs": [{"name": "IN0", "datatype": "FP32", "shape": [1, COUNT], "data": [1.5] * COUNT}]}
TEXT = {"IN0": "x" * 400_000}
ROUTES = [
    (infer, "decode_infer", "echo/infer", NUMBERS),
    (generate, "decode_generate", "text/generate", TEXT),
    (generate, "decode_generate", "text/generate_stream", TEXT),
]


def connection(budget, handler):
    made = HttpConnection(handler, HttpLimits(), set(), budget)
    made.connection_made(Wire())
    return made


def post(path, document):
    body = json.dumps(document).encode()
    return b"POST /v2/models/%b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)


async def until(condition):
    while not condition():  # noqa: ASYNC110  there is no event to wait for
        await asyncio.sleep(0.001)


@pytest.mark.parametrize(("home", "decode", "path", "document"), ROUTES, ids=[route[2] for route in ROUTES])
def test_bodies_of_clients_that_left_are_held_for_as_long_as_a_thread_reads_them(
    monkeypatch, home, decode, path, document
):
    may_end = threading.Event()
    begun = []
    inner = getattr(home, decode)

    def slow(*given):
        begun.append(given)
        may_end.wait(30)
        return inner(*given)

    async def within():
        budget = Budget(1 << 30)
        plane = dataplane()
        made = [connection(budget, build_app(plane)) for _ in range(5)]
        for each in made:
            each.data_received(post(path, document))
        await until(lambda: len(begun) == 2)
        size = budget.held // 5
        for each in made:
            each.connection_lost(None)
        await until(lambda: budget.held == 2 * size)  # three had not begun
        await asyncio.sleep(0.05)
        assert budget.held == 2 * size
        may_end.set()
        await until(lambda: not budget.held)
        assert len(begun) == 2
        assert not plane.requests

    monkeypatch.setattr(home, decode, slow)
    try:
        asyncio.run(asyncio.wait_for(within(), 30))
    finally:
        may_end.set()


def test_events_for_a_client_that_left_are_dropped(monkeypatch):
    may_end = threading.Event()
    begun = []

    def slow(response):
        begun.append(response)
        may_end.wait(30)
        return [b"{}"]

    async def within():
        budget = Budget(1 << 30)
        plane = dataplane()
        plane.models["count"] = plane.models["count"]._replace(run=never)
        made = connection(budget, build_app(plane))
        made.data_received(post("count/generate_stream", {"IN0": 1}))
        large = Tensor.from_array("OUT0", np.array([b"a" * 400_000], object))
        for _ in range(3):
            answer(plane.held[0], large, final=False)
        await until(lambda: begun)
        made.connection_lost(None)
        may_end.set()
        answer(plane.held[0], large, final=False)
        await asyncio.sleep(0.05)
        assert len(begun) == 1

    monkeypatch.setattr(generate, "encode_large_generate", slow)
    try:
        asyncio.run(asyncio.wait_for(within(), 30))
    finally:
        may_end.set()


@pytest.mark.parametrize(("count", "is_closed"), [(2, False), (3, True)])
def test_a_stream_is_cut_off_when_too_much_waits_to_be_encoded(monkeypatch, count, is_closed):
    may_end = threading.Event()

    def slow(_):
        may_end.wait(30)
        return [b"{}"]

    async def within():
        plane = dataplane()
        plane.models["count"] = plane.models["count"]._replace(run=never)
        wire = Wire()
        made = HttpConnection(build_app(plane), HttpLimits(unsent=1_000_000), set(), Budget(1 << 30))
        made.connection_made(wire)
        made.data_received(post("count/generate_stream", {"IN0": 1}))
        large = Tensor.from_array("OUT0", np.array([b"a" * 400_000], object))
        for _ in range(count):
            answer(plane.held[0], large, final=False)
        assert wire.is_closed is is_closed
        may_end.set()
        await until(lambda: wire.written.count(b"data: {}") == count)

    monkeypatch.setattr(generate, "encode_large_generate", slow)
    try:
        asyncio.run(asyncio.wait_for(within(), 30))
    finally:
        may_end.set()


def test_a_change_of_the_repository_goes_on_without_its_client():
    async def within():
        found: list[Exchange] = []
        made = connection(Budget(1 << 30), found.append)
        made.data_received(post("x", {}))
        ended = []

        async def work() -> None:
            await asyncio.sleep(0.01)
            ended.append(True)

        found[0].run(work(), to_end=True)
        made.connection_lost(None)
        await until(lambda: ended)

    asyncio.run(asyncio.wait_for(within(), 30))


def test_nothing_is_begun_for_a_client_that_left():
    async def within():
        found: list[Exchange] = []
        made = connection(Budget(1 << 30), found.append)
        made.data_received(post("x", {}))
        made.connection_lost(None)
        begun = []

        async def work() -> None:
            begun.append(True)

        found[0].run(work())
        await asyncio.sleep(0.01)
        assert not begun

    asyncio.run(within())
