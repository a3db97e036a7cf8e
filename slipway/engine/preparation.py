"""Prepares the likely input shapes of models whose library compiles for each new shape, while the server is idle.

Without it, each of the first requests waits for a compilation. Preparing a shape means running a made-up batch of it on
every instance at the same time, because every stream of OpenVINO compiles for itself. It begins after the load, so it
does not delay readiness, and it steps aside for requests and loads: a request waits for the one batch in execution at
most, and the next batch runs only after a quiet moment. Nothing is counted in the model's statistics.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from math import prod
from typing import Final

from slipway.backends.api import CompilesShapes
from slipway.config.prepared import PREPARED_TOKENS, prepared_tokens
from slipway.config.samples import likely_values
from slipway.core.request import InferRequest
from slipway.core.shapes import BatchShape, likely_shapes
from slipway.core.signature import ModelSignature, TensorSpec
from slipway.core.tensor import Tensor
from slipway.datatypes import BY_NAME
from slipway.engine.model import ModelVersion
from slipway.engine.serving import ServingTable
from slipway.engine.warmup import run_batch
from slipway.errors import SlipwayError

_LOG: Final = logging.getLogger("slipway.engine")

QUIET_S: Final = 0.1  # without requests and loads, before a batch runs
BUSY_S: Final = 5.0  # of computing per model
LONG_S: Final = 0.5  # a batch that took longer is the largest one
ELEMENTS: Final = 1 << 20  # of a made-up tensor: the event loop makes it, which takes a millisecond
PATIENCE_S: Final = 60.0  # per model; the requests of such a busy server have prepared their shapes themselves


class Preparation:
    """Prepares the models that are added, one after another. All methods are called on the event-loop thread.

    `is_loading` returns whether models are being loaded or unloaded; `clock` returns seconds.
    """

    def __init__(
        self,
        serving: ServingTable,
        is_loading: Callable[[], bool],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._serving = serving
        self._is_loading = is_loading
        self._clock = clock
        self._sleep = sleep
        self._waiting: deque[ModelVersion] = deque()
        self._task: asyncio.Task[None] | None = None
        self._seen: int | None = None  # finished requests at the last look; None while a request or load was running

    def add(self, model: ModelVersion) -> None:
        """Prepare `model` when it is its turn, if its library compiles for each new shape. A model with
        resources of the rate limiter runs only when it has them, and one with sequences only within them, so these are
        left as they are."""
        if model.limited or model.config.HasField("sequence_batching"):
            return
        if not isinstance(model.loaded, CompilesShapes) or not model.loaded.compiles_shapes:
            return
        self._waiting.append(model)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End at once; a batch in execution ends by itself before its instance is closed."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _run(self) -> None:
        self._seen = self._finished()
        while self._waiting:
            model = self._waiting.popleft()
            try:
                await self._prepare(model)
            except Exception:  # noqa: BLE001  a bug, or no memory: the model serves on, and the others get their turn
                _LOG.exception("preparing %s failed", model)

    async def _prepare(self, model: ModelVersion) -> None:
        begin, spent, done, shape = self._clock(), 0.0, 0, None
        longest: float = float("inf")
        tokens = min(prepared_tokens(model.config, model.signature.padding), _most_tokens(model.signature))
        for shape in likely_shapes(model.signature, tokens):
            if shape.tokens >= longest:
                continue
            if spent > BUSY_S or not await self._quiet(model, begin + PATIENCE_S):
                break
            started = self._clock()
            error = await self._run_once(model, shape)
            took = self._clock() - started
            if error is not None:
                _LOG.warning("%s: %s", model, _failure(shape, error))
                break
            done, spent = done + 1, spent + took
            if took > LONG_S:
                longest = shape.tokens
        if shape is not None:
            _LOG.info("%s: prepared %d input shapes in %.1f s", model, done, spent)

    async def _quiet(self, model: ModelVersion, deadline: float) -> bool:
        """Wait for a quiet moment; return False if the model is unloaded, or `deadline` passes, before there is one."""
        while not model.retired:
            finished = self._finished()
            if finished is not None and finished == self._seen:
                return True
            self._seen = finished
            if self._clock() > deadline:
                return False
            await self._sleep(QUIET_S)
        return False

    def _finished(self) -> int | None:
        """Return the number of finished requests of all models, None while a request or load is running."""
        models = self._serving.all()
        if self._is_loading() or not all(model.scheduler.is_idle() for model in models):
            return None
        return sum(model.statistics.success.count + model.statistics.fail.count for model in models)

    async def _run_once(self, model: ModelVersion, shape: BatchShape) -> SlipwayError | None:
        """Run the shape on every instance; return the first error, None without one."""
        request = made_up_request(model.signature, shape)
        runs = (run_batch(instance, [request], shape.rows) for instance in model.instances)
        model.preparing = True
        try:
            return next((error for error in await asyncio.gather(*runs) if error is not None), None)
        finally:
            model.preparing = False


def _most_tokens(signature: ModelSignature) -> int:
    """Return the most tokens for which a made-up tensor has at most `ELEMENTS` elements."""
    widest = max((prod(size for size in spec.dims if size > 0) for spec in signature.inputs.values()), default=1)
    return ELEMENTS // widest


def made_up_request(signature: ModelSignature, shape: BatchShape) -> InferRequest:
    """Return one request that fills a batch of `shape`."""
    inputs = {name: _tensor(spec, signature, shape) for name, spec in signature.inputs.items()}
    return InferRequest(signature.model_name, inputs=inputs)


def _tensor(spec: TensorSpec, signature: ModelSignature, shape: BatchShape) -> Tensor:
    dims = tuple(shape.length if size == -1 else size for size in spec.dims)
    sizes = (shape.rows, *dims) if signature.max_batch_size > 0 else dims
    return Tensor(spec.name, spec.datatype, sizes, array=likely_values(BY_NAME[spec.datatype], sizes, spec.name))


def _failure(shape: BatchShape, error: SlipwayError) -> str:
    remedy = f"set the parameter {PREPARED_TOKENS} to the maximum sequence length of the model, or to 0"
    return f"preparing {shape.rows} x {shape.length} tokens failed ({error.message}); {remedy}"
