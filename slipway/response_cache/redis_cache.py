"""The cache in a Redis server, which several servers and their later runs share.

Every exchange with Redis is a task of its own with a time limit. If Redis is away, hangs or answers nonsense, the
models serve without it: an outage is logged once when it begins and once when it ends, and each fault is counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic, monotonic_ns
from typing import TYPE_CHECKING, Any, Final

from slipway.config.cache_settings import RedisCacheSettings
from slipway.core.large_work import LARGE, run_large
from slipway.errors import unavailable
from slipway.installation import install_hint
from slipway.response_cache.api import CacheReport, CacheStatistics
from slipway.response_cache.codec import decode_response, encode_response
from slipway.response_cache.outage import Outage
from slipway.response_cache.stored import StoredResponse

if TYPE_CHECKING:
    from redis.asyncio import Redis

_LOG: Final = logging.getLogger("slipway.response_cache")
_PREFIX: Final = b"slipway:1:"  # of every key; the number changes with the format of the values
_PATIENCE_MS: Final = 250  # to connect, and to wait for an answer, if the settings have no limit
_LIMIT: Final = 64 << 20  # bytes of a response: longer transfers would keep the other requests waiting
_MAX_INSERTIONS: Final = 64  # under way; each holds a response


class RedisCache:
    """Keeps responses in Redis, which decides itself what leaves. Implements `response_cache.api.ResponseCache`."""

    def __init__(self, settings: RedisCacheSettings) -> None:
        """Prepare the client, which connects when it is used. Raise UNAVAILABLE if it is not installed."""
        self.statistics = CacheStatistics()
        self.limit = _LIMIT
        self._where = f"{settings.host}:{settings.port}"
        self._client = _client(settings)
        self._places = asyncio.Semaphore(settings.pool_size)
        self._wait_s = (settings.wait_timeout or _PATIENCE_MS) / 1000
        patience = (settings.connect_timeout or _PATIENCE_MS) + (settings.socket_timeout or _PATIENCE_MS)
        self._limit_s = 2 * patience / 1000  # beyond the client's own limits, should they not hold
        self._outage = Outage()
        self._insertions: set[asyncio.Task[None]] = set()

    def lookup(self, key: bytes) -> Awaitable[StoredResponse | None] | None:
        """Return what will be the response; None during an outage."""
        return self._get(_PREFIX + key.hex().encode()) if self._outage.allows(monotonic()) else None

    def insert(self, key: bytes, response: StoredResponse) -> None:
        """Send a response to Redis in the background; not during an outage, or if Redis does not keep up."""
        if len(self._insertions) >= _MAX_INSERTIONS:
            self.statistics.failures += 1
        elif self._outage.allows(monotonic()):
            task = asyncio.get_running_loop().create_task(self._set(_PREFIX + key.hex().encode(), response))
            self._insertions.add(task)
            task.add_done_callback(self._insertions.discard)

    def report(self) -> CacheReport:
        """Return what this server counted; Redis knows the rest."""
        return CacheReport(self.statistics)

    async def close(self) -> None:
        """Drop the insertions under way and close the connections."""
        for task in self._insertions:
            task.cancel()
        await asyncio.gather(*self._insertions, return_exceptions=True)
        await self._client.aclose()

    async def _get(self, name: bytes) -> StoredResponse | None:
        encoded = await self._exchange(self._client.get, name)
        if encoded is None:
            return None
        try:
            if len(encoded) > LARGE:
                return await run_large(decode_response, encoded)
            return decode_response(encoded)
        except ValueError as error:
            self.statistics.failures += 1
            _LOG.warning("the response cache at %s has a response that cannot be used: %s", self._where, error)
            return None

    async def _set(self, name: bytes, response: StoredResponse) -> None:
        begin = monotonic_ns()
        large = response.size > LARGE
        encoded = await run_large(encode_response, response) if large else encode_response(response)
        await self._exchange(self._client.set, name, memoryview(encoded))
        self.statistics.insertion_ns += monotonic_ns() - begin

    async def _exchange(self, command: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        """Return the answer to a command of the client; None if Redis has none, or fails."""
        from redis.exceptions import RedisError

        try:
            async with asyncio.timeout(self._wait_s):
                await self._places.acquire()
        except TimeoutError:  # busy, not away
            self.statistics.failures += 1
            return None
        try:
            async with asyncio.timeout(self._limit_s):
                answer = await command(*arguments)
        except (RedisError, OSError, TimeoutError) as error:
            await self._fault(error)
            return None
        finally:
            self._places.release()
        if self._outage.answered():
            _LOG.info("the response cache at %s answers again", self._where)
        return answer

    async def _fault(self, error: Exception) -> None:
        self.statistics.failures += 1
        if self._outage.failed(monotonic()):
            what = str(error) or type(error).__name__
            _LOG.error("the response cache at %s failed, models run without it: %s", self._where, what)
        await self._client.connection_pool.disconnect(inuse_connections=False)  # they lead to what is no longer there


def _client(settings: RedisCacheSettings) -> Redis:
    try:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError:
        raise unavailable(f"the redis cache needs the package 'redis': {install_hint('redis')}") from None
    return Redis(
        host=settings.host,
        port=settings.port,
        username=settings.user,
        password=settings.password,
        db=settings.db,
        socket_connect_timeout=(settings.connect_timeout or _PATIENCE_MS) / 1000,
        socket_timeout=(settings.socket_timeout or _PATIENCE_MS) / 1000,
        max_connections=settings.pool_size,
        retry=Retry(NoBackoff(), 0),  # a request must not wait for a second attempt
    )
