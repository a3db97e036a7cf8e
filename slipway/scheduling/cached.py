"""`response_cache`: answers requests from the response cache, and keeps the responses that a model computes.

Runs on the event-loop thread. It wraps the model's scheduler, which sees only the requests that the cache cannot
answer; a model without a cache does not have it. Requests and responses of more than `LARGE` bytes are hashed and
copied in the threads for large work. Only a successful response is kept. A step of an ensemble may serve sequences,
where a result depends on the requests before: an ensemble gets every request that has a correlation id.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from time import monotonic_ns
from typing import Any, Final
from weakref import ref

from slipway.core.explanation import Wait
from slipway.core.large_work import LARGE, run_large
from slipway.core.pending import Deliver, Pending
from slipway.core.request import InferRequest, InferResponse
from slipway.core.signature import ModelSignature
from slipway.core.statistics import ModelStatistics, Timing
from slipway.core.tensor import Tensor
from slipway.errors import SlipwayError, cancelled
from slipway.response_cache.api import ResponseCache
from slipway.response_cache.key import request_key
from slipway.response_cache.stored import StoredResponse
from slipway.scheduling.api import Drain, Scheduler

_LOG: Final = logging.getLogger("slipway.scheduling")
_MAX_COPIES: Final = 4  # large responses that are being copied: each keeps the model's own memory alive

Found = StoredResponse | None


def uncached(scheduler: Scheduler) -> Scheduler:
    """Return the scheduler of a model without a response cache: its own."""
    return scheduler


class _Miss:
    """A request on its way through the model: passes its responses on, and the one with content to the cache too."""

    __slots__ = ("_early", "_forward", "_keep", "_key", "_lookup_ns")

    def __init__(self, pending: Pending, key: bytes, lookup_ns: int, keep: Callable[..., None]) -> None:
        self._key = key
        self._lookup_ns = lookup_ns
        self._keep = keep
        self._early: InferResponse | None = None  # came before the final flag
        self._forward: Deliver = pending.redirect(self.receive)

    def receive(self, response: InferResponse) -> None:
        content = self._early if response.empty and self._early is not None else response
        outputs, final = content.outputs, response.final  # the front may let go of them
        self._forward(response)
        if final:
            self._keep(self._key, content, outputs, self._lookup_ns)
        else:
            self._early = response


class _Hit:
    """Gives a response once more, if the model would still answer with it. It keeps neither the model nor the response,
    which may be far larger than what a front made of it."""

    __slots__ = ("_found", "_identity", "_key", "_scheduler")

    def __init__(self, scheduler: CachedScheduler, identity: bytes, key: bytes, found: StoredResponse) -> None:
        self._scheduler = ref(scheduler)
        self._identity = identity
        self._key = key
        self._found = ref(found)

    def __call__(self) -> bool:
        """Return whether the cache still has the response for the model as it is loaded now; count the hit."""
        scheduler, found = self._scheduler(), self._found()
        return scheduler is not None and found is not None and scheduler.repeat(self._identity, self._key, found)


class CachedScheduler:
    """Answers from `cache` what it can and passes the rest to `scheduler`. Implements `scheduling.api.Scheduler`.

    `identity` returns what distinguishes the model as it is loaded now from every other one, see `request_key`. With
    `has_sequences`, requests with a correlation id may be parts of sequences, and all go to `scheduler`.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        cache: ResponseCache,
        signature: ModelSignature,
        *,
        statistics: ModelStatistics,
        version: str,
        identity: Callable[[], bytes],
        has_sequences: bool = False,
    ) -> None:
        self._scheduler = scheduler
        self._cache = cache
        self._signature = signature
        self._statistics = statistics
        self._version = version
        self._identity = identity
        self._has_sequences = has_sequences
        self._looking: dict[asyncio.Task[tuple[bytes, Found]], int] = {}  # look-ups that take time, with their start
        self._copying: set[asyncio.Task[None]] = set()
        self._drain = Drain(self._is_quiet)
        self._warned = False

    def submit(self, pending: Pending) -> None:
        """Answer the request, or pass it on. Raise `SlipwayError` if the model's scheduler refuses it at once."""
        if self._drain.closed or (self._has_sequences and pending.request.correlation_id):
            self._scheduler.submit(pending)  # which refuses it, or whose steps know what came before it
            return
        begin = monotonic_ns()
        request, identity = pending.request, self._identity()
        if _size(request.inputs.values()) > LARGE:
            self._defer(pending, begin, self._look_up_large(identity, request))
            return
        key = request_key(identity, request, self._signature.outputs)
        found = self._cache.lookup(key)
        if found is None or isinstance(found, StoredResponse):
            again = None
            if found is not None and request.explanation is None and request.trace is None:
                again = _Hit(self, identity, key, found)
            self._proceed(pending, key, found, begin, again)
        else:
            self._defer(pending, begin, _with_key(key, found))

    def repeat(self, identity: bytes, key: bytes, found: StoredResponse) -> bool:
        """Count a hit with a response that was `found` before, and return True, if a look-up would find it now."""
        if self._drain.closed or self._identity() != identity:
            return False
        begin = monotonic_ns()
        if self._cache.lookup(key) is not found:
            return False
        end = monotonic_ns()
        self._cache.statistics.record_lookup(end - begin, hit=True)
        self._statistics.record_cache_hit(begin, begin, end)
        return True

    def is_idle(self) -> bool:
        """Return whether every accepted request is answered."""
        return self._is_quiet() and self._scheduler.is_idle()

    async def drain(self) -> None:
        """Refuse new requests and wait until every accepted one is answered."""
        await self._drain.finish()
        await self._scheduler.drain()
        while self._copying:  # of what the model's instances may own
            await asyncio.wait(self._copying)

    def _is_quiet(self) -> bool:
        return not self._looking

    # Look-ups that take time

    async def _look_up_large(self, identity: bytes, request: InferRequest) -> tuple[bytes, Found]:
        key = await run_large(request_key, identity, request, self._signature.outputs)
        found = self._cache.lookup(key)
        return key, found if found is None or isinstance(found, StoredResponse) else await found

    def _defer(self, pending: Pending, begin: int, looking: Coroutine[Any, Any, tuple[bytes, Found]]) -> None:
        task = asyncio.get_running_loop().create_task(looking)
        self._looking[task] = begin
        if pending.request.explanation is not None:
            pending.request.explanation.wait(Wait.CACHE, begin)
        pending.dequeue = self._cancelled
        task.add_done_callback(partial(self._resume, pending))

    def _resume(self, pending: Pending, task: asyncio.Task[tuple[bytes, Found]]) -> None:
        begin = self._looking.pop(task)
        pending.dequeue = None
        try:
            failure = None if task.cancelled() else task.exception()
            if pending.finished:
                pass  # cancelled meanwhile
            elif task.cancelled() or failure is not None:
                self._cache.statistics.failures += 1
                _LOG.error("model '%s': looking up a response failed", self._signature.model_name, exc_info=failure)
                self._scheduler.submit(pending)
            else:
                self._proceed(pending, *task.result(), begin)
        except SlipwayError as error:
            pending.deliver(InferResponse(self._signature.model_name, self._version, pending.request.id, error=error))
        finally:
            self._drain.check()

    def _cancelled(self, pending: Pending) -> None:
        pending.dequeue = None
        error = cancelled()
        self._statistics.record_failure(monotonic_ns() - pending.arrival_ns, error.reason)
        pending.deliver(InferResponse(self._signature.model_name, self._version, pending.request.id, error=error))

    # Hits and misses

    def _proceed(self, pending: Pending, key: bytes, found: Found, begin: int, again: _Hit | None = None) -> None:
        end = monotonic_ns()
        self._cache.statistics.record_lookup(end - begin, hit=found is not None)
        if pending.request.explanation is not None:
            pending.request.explanation.looked_up(end, hit=found is not None)
        if found is None:
            _Miss(pending, key, end - begin, self._keep)
            self._scheduler.submit(pending)
            return
        response = InferResponse(
            self._signature.model_name,
            self._version,
            pending.request.id,
            outputs=found.outputs(),
            parameters=dict(found.parameters),
            again=again,
        )
        pending.timing = Timing(end, end, end, end)  # an ensemble adds up its steps: this one computed nothing
        pending.deliver(response)
        self._statistics.record_cache_hit(pending.arrival_ns, begin, end)  # so that the client does not wait for it

    def _keep(self, key: bytes, response: InferResponse, outputs: list[Tensor], lookup_ns: int) -> None:
        """Insert a response that was delivered, and count the miss with the time that looking up and inserting took."""
        begin = monotonic_ns()
        if response.error is None and not response.empty:
            size = _size(outputs)
            if size > self._cache.limit:
                self._refuse(key, size)
            elif size <= LARGE and not any(tensor.is_large_to_pack for tensor in outputs):
                self._insert(key, StoredResponse.of(outputs, response.parameters))
            elif len(self._copying) < _MAX_COPIES:
                copying = asyncio.get_running_loop().create_task(self._copy(key, outputs, dict(response.parameters)))
                self._copying.add(copying)
                copying.add_done_callback(self._copied)
        elapsed = monotonic_ns() - begin
        self._cache.statistics.insertion_ns += elapsed
        self._statistics.cache_miss.add(lookup_ns + elapsed)

    async def _copy(self, key: bytes, outputs: Sequence[Tensor], parameters: dict[str, Any]) -> None:
        self._insert(key, await run_large(StoredResponse.of, outputs, parameters))

    def _copied(self, copying: asyncio.Task[None]) -> None:
        self._copying.discard(copying)
        failure = None if copying.cancelled() else copying.exception()
        if failure is not None:
            self._cache.statistics.failures += 1
            _LOG.error("model '%s': a response was not kept", self._signature.model_name, exc_info=failure)

    def _insert(self, key: bytes, stored: StoredResponse) -> None:
        if stored.size > self._cache.limit:
            self._refuse(key, stored.size)
        else:
            self._cache.insert(key, stored)

    def _refuse(self, key: bytes, size: int) -> None:
        """Count a response that is too large for the cache; the first one of a model is logged, in Triton's words."""
        self._cache.statistics.failures += 1
        if not self._warned:
            self._warned = True
            _LOG.error(
                "Failed to insert key [%s] into response cache: Requested byte_size: %d is greater than total cache "
                "size: %d (model '%s'; further ones are only counted)",
                key.hex(),
                size,
                self._cache.limit,
                self._signature.model_name,
            )


async def _with_key(key: bytes, found: Any) -> tuple[bytes, Found]:
    return key, await found


def _size(tensors: Any) -> int:
    size = 0
    for tensor in tensors:
        size += tensor.byte_size
    return size
