"""Runs the texts of one request as rows of a model's batches, a bounded number at a time.

Texts of similar length share a request to the model, so that little is padded. A request with many texts has only a few
of them in the model's queue at any time: between them, other clients get their turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from slipway.core.request import InferRequest, InferResponse
from slipway.core.tensor import Tensor
from slipway.errors import internal
from slipway.rest import traced
from slipway.rest.context import Context
from slipway.rest.exchange import Exchange

MakeInputs = Callable[[Sequence[int]], list[Tensor]]  # of the rows at these places

_AT_ONCE: Final = 4  # groups of one request that the model has at a time
_MOST_ROWS: Final = 32
_MOST_TOKENS: Final = 4096  # of a group of several rows, padding included
_PADDING: Final = 0.2  # share of a group's tokens


@dataclass(frozen=True, slots=True)
class RowJob:
    """Texts for one model. `lengths` are their numbers of tokens, `inputs` makes the tensors of a group of them, with a
    batch dimension. Rows that are `exact` share a group only with those of equal length."""

    model: str
    max_batch_size: int
    outputs: tuple[str, ...]
    lengths: Sequence[int]
    inputs: MakeInputs
    exact: bool = False


def plan_groups(lengths: Sequence[int], max_rows: int, *, exact: bool = False) -> Iterator[list[int]]:
    """Yield the places of rows that go together: at most `max_rows` of them, of similar length."""
    share = 0.0 if exact else _PADDING
    group: list[int] = []
    tokens = 0
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        padded = (len(group) + 1) * lengths[place]
        tokens += lengths[place]
        full = len(group) >= max_rows or padded > _MOST_TOKENS or padded - tokens > share * padded
        if group and full:
            yield group
            group, tokens = [], lengths[place]
        group.append(place)
    if group:
        yield group


async def run_rows(context: Context, exchange: Exchange, job: RowJob) -> dict[str, list[np.ndarray]]:
    """Return each output's rows in the order of the texts; raise `SlipwayError` if one fails. Cancelling the awaiting
    task cancels all of them."""
    results: dict[str, list[np.ndarray]] = {name: [np.empty(0)] * len(job.lengths) for name in job.outputs}
    groups = list(plan_groups(job.lengths, max(1, min(_MOST_ROWS, job.max_batch_size)), exact=job.exact))

    async def work(waiting: Iterator[list[int]]) -> None:
        for group in waiting:
            response = await _answer(context, exchange, job, group, may_trace=group is groups[0])
            for name, rows in zip(job.outputs, _outputs(response, job, len(group)), strict=True):
                for place, row in zip(group, rows, strict=True):
                    results[name][place] = row

    waiting = iter(groups)
    if len(groups) == 1:
        await work(waiting)
        return results
    workers = [asyncio.ensure_future(work(waiting)) for _ in range(_AT_ONCE)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
    return results


async def _answer(
    context: Context, exchange: Exchange, job: RowJob, group: Sequence[int], *, may_trace: bool
) -> InferResponse:
    request = InferRequest(job.model, outputs=job.outputs)
    for tensor in job.inputs(group):
        shaped = tensor if job.max_batch_size else tensor.reshaped(tensor.shape[1:])
        request.inputs[tensor.name] = shaped
    answer: asyncio.Future[InferResponse] = asyncio.get_running_loop().create_future()
    deliver = partial(_settle, answer)
    if may_trace and context.dataplane.tracing.active and exchange.on_disconnect is None:
        traced.submit(context.dataplane, exchange, request, deliver)
        response = await answer
    else:
        pending = context.dataplane.submit(request, deliver)
        try:
            response = await answer
        except asyncio.CancelledError:
            pending.cancel()
            raise
    if response.error is not None:
        raise response.error.without_frames()
    return response


def _settle(answer: asyncio.Future[InferResponse], response: InferResponse) -> None:
    if not answer.done():  # the awaiting task may have been cancelled
        answer.set_result(response)


def _outputs(response: InferResponse, job: RowJob, rows: int) -> Iterator[np.ndarray]:
    """Yield the arrays of the outputs, with a batch dimension; raise INTERNAL if one is missing."""
    arrays = {tensor.name: tensor.array for tensor in response.outputs}
    for name in job.outputs:
        if name not in arrays:
            raise internal(f"model '{job.model}' did not return output '{name}'")
        array = arrays[name] if job.max_batch_size else arrays[name][None]
        if len(array) != rows:
            raise internal(f"model '{job.model}' returned {len(array)} rows in output '{name}' for {rows} texts")
        yield array


def text_tensor(name: str, texts: Sequence[str]) -> Tensor:
    """Return texts as BYTES [rows, 1]."""
    array = np.empty((len(texts), 1), dtype=np.object_)
    array[:, 0] = [text.encode() for text in texts]
    return Tensor(name, "BYTES", array.shape, array=array)
