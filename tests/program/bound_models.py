"""Models of every kind that a program can bind, and what they record for the tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from threading import Event
from typing import Annotated

import numpy as np

import slipway
from slipway import TensorType

Row = Annotated[np.ndarray, TensorType(np.float32, -1)]
Number = Annotated[np.ndarray, TensorType(np.int32)]
Text = Annotated[np.ndarray, TensorType(str)]


class Recorded:
    """What the models did."""

    def __init__(self):
        self.blocked = Event()  # a call of `blocked` has begun
        self.unblock = Event()
        self.stopped = Event()  # an endless stream has ended
        self.waits = Event()  # a call of `waits_forever` has begun
        self.cancelled = Event()  # and was cancelled
        self.setups = []
        self.closed = []


def bind_all(server, recorded):  # noqa: C901  many small models
    """Bind one model of every kind."""

    @server.model(
        inputs=[TensorType(np.float32, -1, name="INPUT0")],
        outputs=[TensorType(np.float32, -1, name="OUTPUT0")],
        max_batch_size=8,
    )
    def double(INPUT0):  # noqa: N803  as the identity models of the ensemble
        return 2 * INPUT0

    @server.model(max_batch_size=8)
    def upper(text: Text, suffix: Text = None) -> Text:
        ends = [""] * len(text) if suffix is None else suffix
        return [each.upper() + end for each, end in zip(text, ends, strict=True)]

    @server.model(max_batch_size=4, max_queue_delay_us=60_000_000, preferred_batch_sizes=[4])
    def rows_together(x: Row) -> Annotated[np.ndarray, TensorType(np.int64, name="rows")]:
        return [len(x)] * len(x)

    @server.model(max_batch_size=4, max_queue_delay_us=60_000_000, preferred_batch_sizes=[4])
    def picky(x: Row) -> Row:
        if (x < 0).any():
            raise ValueError("a row is negative")
        if (x > 100).any():
            raise slipway.SlipwayError(slipway.Code.INVALID_ARG, "a row is larger than 100")
        return x + 1

    @server.model
    def blocked(x: Row) -> Row:
        recorded.blocked.set()
        recorded.unblock.wait(60)
        return x

    @server.model
    def wrong(x: Row) -> Row:
        return x.astype(np.float64)

    @server.model(instances=2)
    class Scaler:
        def setup(self, instance: slipway.ModelInstance):
            recorded.setups.append((instance.name, instance.index, instance.model, instance.version))
            self.factor = np.float32(3)

        def __call__(self, x: Row) -> Row:
            return self.factor * x

        def close(self):
            recorded.closed.append(self.factor)

    @server.model(version=2, name="later")
    async def later(x: Row) -> Row:
        await asyncio.sleep(0)
        return x + 1

    @server.model
    async def waits_forever(x: Row) -> Row:
        recorded.waits.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            recorded.cancelled.set()
        return x

    @server.model
    def count(n: Number) -> Iterator[Annotated[np.ndarray, TensorType(np.int32, name="i")]]:
        yield from range(int(n))
        if n == 3:
            raise ValueError("three is too many")

    @server.model(max_batch_size=4)
    async def count_later(n: Number) -> AsyncIterator[Annotated[np.ndarray, TensorType(np.int32, name="i")]]:
        for i in range(int(n.max())):
            await asyncio.sleep(0)
            yield np.full(len(n), i, np.int32)

    @server.model
    def endless(n: Number) -> Iterator[Number]:
        try:
            while True:
                yield n
        finally:
            recorded.stopped.set()

    @server.model(max_batch_size=4)
    def parametrised(x: Row, context) -> Row:
        parameters = [{**each.parameters, "rows": each.rows, "model": context.model} for each in context.requests]
        return slipway.Reply(x, parameters)
