"""Runs the sequences of one request as rows of the model NAME-completions, and passes their events on.

A request with many sequences has only a few groups of them in the model's queue at any time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson

from slipway.core.request import InferRequest, InferResponse
from slipway.core.tensor import Tensor
from slipway.errors import internal
from slipway.rest import traced
from slipway.rest.context import Context
from slipway.rest.exchange import Exchange
from slipway.runtime.completion_model import COMPLETION, EVENT

_AT_ONCE: Final = 2  # groups of one request that the model has at a time

Event = Mapping[str, Any]
Receive = Callable[[int, Event], None]


async def run_sequences(
    context: Context, exchange: Exchange, model: str, orders: Sequence[bytes], receive: Receive
) -> None:
    """Pass the events of each sequence to `receive`, with its place among the `orders`; return when all are complete.

    Raise `SlipwayError` if one fails; this, or cancelling the awaiting task, stops all others.
    """
    rows = max(1, context.dataplane.signature(model, "").max_batch_size)
    starts = iter(range(0, len(orders), rows))

    async def work(waiting: Iterator[int]) -> None:
        for start in waiting:
            await _run_group(context, exchange, _request(model, orders[start : start + rows]), start, receive)

    if len(orders) <= rows:
        await work(starts)
        return
    workers = [asyncio.ensure_future(work(starts)) for _ in range(_AT_ONCE)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()


def _request(model: str, orders: Sequence[bytes]) -> InferRequest:
    array = np.empty((len(orders), 1), dtype=np.object_)
    array[:, 0] = orders
    return InferRequest(model, inputs={COMPLETION: Tensor(COMPLETION, "BYTES", array.shape, array=array)})


async def _run_group(context: Context, exchange: Exchange, request: InferRequest, first: int, receive: Receive) -> None:
    responses: asyncio.Queue[InferResponse] = asyncio.Queue()
    if context.dataplane.tracing.active and exchange.on_disconnect is None:  # the trace is that of the first group
        pending = traced.submit(context.dataplane, exchange, request, responses.put_nowait)
    else:
        pending = context.dataplane.submit(request, responses.put_nowait)
    try:
        while True:
            response = await responses.get()
            if response.error is not None:
                raise response.error.without_frames()
            if not response.empty:
                event = _event(response)
                receive(first + event["row"], event)
            if response.final:
                return
    finally:
        pending.cancel()  # without effect after the final response


def _event(response: InferResponse) -> Event:
    for tensor in response.outputs:
        if tensor.name == EVENT:
            event: Event = orjson.loads(tensor.array.reshape(-1)[0])
            return event
    raise internal(f"model '{response.model_name}' did not return output '{EVENT}'")
