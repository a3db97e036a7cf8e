"""Run a model's warm-up samples on each of its instances before it becomes ready (config field `model_warmup`).

A sample that cannot be built or that fails to run fails the load: a ready model has computed at least once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.backends.instance_api import Instance, Outcome
from slipway.config.samples import sample_tensors
from slipway.core.check import check_request
from slipway.core.pending import Pending
from slipway.core.request import RESCHEDULED, InferRequest, InferResponse
from slipway.core.signature import ModelSignature
from slipway.core.tensor import Tensor
from slipway.errors import SlipwayError, invalid

_LOG: Final = logging.getLogger("slipway.engine")
NOTHING: Final[Mapping[str, Tensor]] = MappingProxyType({})


async def warm_up(
    config: model_config_pb2.ModelConfig,
    signature: ModelSignature,
    directory: Path,
    instances: Sequence[Instance],
    *,
    added: Mapping[str, Tensor] = NOTHING,
) -> None:
    """Run each sample of `config` on each instance; raise `SlipwayError` for the first that fails. `added` are inputs
    for samples that lack them.

    A sample describes one row. Its `batch_size` is the number of requests of one row that are executed together.
    """
    for sample in config.model_warmup:
        tensors = await asyncio.to_thread(sample_tensors, config, sample, directory)
        request = InferRequest(signature.model_name, inputs={**added, **tensors})
        rows = check_request(request, signature)
        requests = max(1, sample.batch_size)
        for instance in instances:
            if requests > max(1, signature.max_batch_size):
                limit = f"batch size {requests} for '{instance.name}', max allowed is {signature.max_batch_size}"
                raise invalid(f"failed to run warmup sample '{sample.name}': {limit}")
            _LOG.info("'%s' instance '%s' is running warmup sample '%s'", config.name, instance.name, sample.name)
            for _ in range(max(1, sample.count)):
                await _run(instance, [request] * requests, rows, sample.name)


async def _run(instance: Instance, requests: Sequence[InferRequest], rows: int, sample: str) -> None:
    error = await run_batch(instance, requests, rows)
    if error is not None:
        message = f"failed to run warmup sample '{sample}': {error.message}"
        raise SlipwayError(error.code, message, reason=error.reason)


async def run_batch(instance: Instance, requests: Sequence[InferRequest], rows: int) -> SlipwayError | None:
    """Run requests of `rows` rows each as one batch that is not counted; return the first error, None without one."""
    loop = asyncio.get_running_loop()
    batch: list[Pending] = []
    ends = [_pending(request, rows, loop, batch) for request in requests]

    def finished(outcome: Outcome) -> None:
        for pending, response in zip(batch, outcome.responses, strict=True):
            if response is RESCHEDULED:  # one execution is enough
                pending.deliver(InferResponse(empty=True))
            elif response is not None:
                pending.deliver(response)

    instance.start(batch, finished)
    return next((error for error in await asyncio.gather(*ends) if error is not None), None)


def _pending(
    request: InferRequest, rows: int, loop: asyncio.AbstractEventLoop, batch: list[Pending]
) -> asyncio.Future[SlipwayError | None]:
    """Append the request to `batch`; return a future of its error, or of None after its final response."""
    done: asyncio.Future[SlipwayError | None] = loop.create_future()

    def deliver(response: InferResponse) -> None:
        if not done.done() and (response.error is not None or response.final):
            done.set_result(response.error)

    batch.append(Pending(request, rows, time.monotonic_ns(), loop, deliver))
    return done
