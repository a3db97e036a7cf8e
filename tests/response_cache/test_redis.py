"""The cache in a real Redis: shared, bounded in time, and without effect on the models when Redis is away or hangs."""

from __future__ import annotations

import asyncio
import logging

import numpy as np
import pytest

from slipway.config.cache_settings import RedisCacheSettings
from slipway.core.tensor import Tensor
from slipway.response_cache import redis_cache
from slipway.response_cache.outage import Outage
from slipway.response_cache.redis_cache import RedisCache
from slipway.response_cache.stored import StoredResponse
from tests.kits.redis_server import RedisServer

redis = pytest.importorskip("redis")
KEY = bytes(range(32))


@pytest.fixture
def server(tmp_path):
    with RedisServer(tmp_path) as running:
        yield running


def response(count: int = 4) -> StoredResponse:
    return StoredResponse.of([Tensor.from_array("OUT", np.arange(count, dtype=np.int32))], {"p": 1})


def cache_of(server, **settings) -> RedisCache:
    """Return a cache that makes an attempt whenever it is asked, even during an outage: a test does not wait."""
    patience = {"connect_timeout": 10_000, "socket_timeout": 10_000} | settings  # the machine may be busy
    cache = RedisCache(RedisCacheSettings("127.0.0.1", server.port, **patience))
    cache._outage = Outage(pause_s=0)
    return cache


async def found(cache: RedisCache, key: bytes = KEY) -> StoredResponse | None:
    looking = cache.lookup(key)
    return None if looking is None else await looking


async def kept(cache: RedisCache, stored: StoredResponse, key: bytes = KEY) -> None:
    cache.insert(key, stored)
    await asyncio.gather(*cache._insertions)


def messages(caplog) -> list[str]:
    return [f"{each.levelname} {each.getMessage()}" for each in caplog.records if each.name == "slipway.response_cache"]


@pytest.mark.parametrize("count", [4, 1_000_000], ids=["small", "large"])
def test_a_response_is_found_by_another_server(server, count):
    async def scenario():
        first, second = cache_of(server), cache_of(server)
        assert await found(first) is None
        await kept(first, response(count))
        stored = await found(second)
        assert stored.parameters == (("p", 1),)
        assert stored.outputs()[0].array.tolist() == list(range(count))
        assert first.statistics.failures == second.statistics.failures == 0
        for cache in (first, second):
            await cache.close()

    asyncio.run(scenario())


def test_a_redis_that_goes_away_and_comes_back_is_logged_once_and_counted(server, caplog):
    async def scenario():
        cache = cache_of(server)
        await kept(cache, response())
        server.stop()
        for _ in range(3):
            assert await found(cache) is None
        await kept(cache, response())
        assert cache.statistics.failures == 4
        server.start()
        await kept(cache, response())
        assert await found(cache) is not None
        assert cache.statistics.failures == 4
        await cache.close()

    caplog.set_level(logging.INFO)
    asyncio.run(scenario())
    gone, back = messages(caplog)
    assert gone.startswith(f"ERROR the response cache at 127.0.0.1:{server.port} failed, models run without it: ")
    assert back == f"INFO the response cache at 127.0.0.1:{server.port} answers again"


def test_a_redis_that_hangs_delays_nobody_else_and_each_request_for_a_bounded_time(server, caplog):
    async def scenario():
        cache = cache_of(server, socket_timeout=1000)
        await kept(cache, response())
        server.hang()
        looking = [asyncio.ensure_future(found(cache)) for _ in range(4)]
        for _ in range(100):  # the loop goes on
            await asyncio.sleep(0)
        assert not any(each.done() for each in looking)
        assert await asyncio.gather(*looking) == [None] * 4
        assert cache.statistics.failures == 4
        server.go_on()
        assert (await found(cache)).size == response().size
        await cache.close()

    caplog.set_level(logging.INFO)
    asyncio.run(scenario())
    assert [line.split()[0] for line in messages(caplog)] == ["ERROR", "INFO"]


def test_nobody_asks_during_an_outage(server):
    async def scenario():
        cache = RedisCache(RedisCacheSettings("127.0.0.1", server.port))
        cache._outage = Outage(pause_s=3600)
        server.stop()
        assert await found(cache) is None
        assert cache.lookup(KEY) is None
        cache.insert(KEY, response())
        assert not cache._insertions
        assert cache.statistics.failures == 1
        await cache.close()

    asyncio.run(scenario())


def test_a_full_redis_and_foreign_values_are_faults_of_one_response(server, tmp_path, caplog):
    async def scenario():
        cache = cache_of(server)
        client = redis.asyncio.Redis(port=server.port)
        await client.set(b"slipway:1:" + KEY.hex().encode(), b"something else")
        assert await found(cache) is None
        await client.delete(b"slipway:1:" + KEY.hex().encode())
        await client.rpush(b"slipway:1:" + KEY.hex().encode(), b"a list")
        assert await found(cache) is None
        await client.config_set("maxmemory", 1)
        await kept(cache, response(), b"\1" * 32)
        assert cache.statistics.failures == 3
        await client.config_set("maxmemory", 0)
        await kept(cache, response())
        assert (await found(cache)).size == response().size
        await client.aclose()
        await cache.close()

    asyncio.run(scenario())
    assert "has a response that cannot be used: " in messages(caplog)[0]


def test_more_requests_than_connections_wait_their_turn(server):
    async def scenario():
        cache = cache_of(server, pool_size=1, wait_timeout=20_000)
        await kept(cache, response())
        assert all(await asyncio.gather(*(found(cache) for _ in range(100))))
        assert cache.statistics.failures == 0
        await cache.close()

    asyncio.run(scenario())


def test_insertions_that_redis_does_not_keep_up_with_are_dropped(server, monkeypatch):
    monkeypatch.setattr(redis_cache, "_MAX_INSERTIONS", 2)

    async def scenario():
        cache = cache_of(server)
        for number in range(5):
            cache.insert(bytes([number]) * 32, response())
        assert len(cache._insertions) == 2
        assert cache.statistics.failures == 3
        await cache.close()
        assert not cache._insertions

    asyncio.run(scenario())


def test_user_and_password_are_given(tmp_path):
    async def scenario(port):
        for password, works in (("right", True), ("wrong", False), (None, False)):
            cache = RedisCache(RedisCacheSettings("127.0.0.1", port, password=password, socket_timeout=10_000))
            await kept(cache, response())
            assert (await found(cache) is not None) == works
            await cache.close()

    with RedisServer(tmp_path, "--requirepass", "right") as server:
        asyncio.run(scenario(server.port))
