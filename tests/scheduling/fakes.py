"""Requests, instances and small models for the scheduler tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import numpy as np

from slipway.backends.api import Execution
from slipway.backends.instance_api import Finished, Outcome
from slipway.core.pending import Pending
from slipway.core.request import InferRequest, InferResponse
from slipway.core.signature import ModelSignature, TensorSpec
from slipway.core.statistics import Timing
from slipway.core.tensor import Tensor


def signature_of(name="m", *, dims=(2,), max_batch_size=8, decoupled=False, inputs=("X",), outputs=("Y",)):
    return ModelSignature(
        name,
        max_batch_size,
        {tensor: TensorSpec(tensor, "FP32", dims) for tensor in inputs},
        {tensor: TensorSpec(tensor, "FP32", dims) for tensor in outputs},
        decoupled=decoupled,
        required_inputs=frozenset(inputs),
    )


class WatchedTensor(Tensor):
    """A tensor that tests can watch being freed."""

    __slots__ = ("__weakref__",)


class Client:
    """Sends requests to a scheduler and keeps the responses in `answers`, by request id."""

    def __init__(self, scheduler=None):
        self.scheduler = scheduler
        self.answers: dict[str, list[InferResponse]] = {}
        self.order: list[str] = []  # ids in the order of their final responses
        self.on_answer: Callable[[InferResponse], None] = lambda _: None

    def send(self, id: str, values=((1.0, 2.0),), **fields) -> Pending:  # noqa: A002  the request's own field name
        pending = self.pending(id, values, **fields)
        self.scheduler.submit(pending)
        return pending

    def pending(self, id: str, values=((1.0, 2.0),), **fields) -> Pending:  # noqa: A002  the request's own field name
        array = np.asarray(values, dtype=np.float32)
        fields.setdefault("inputs", {"X": Tensor.from_array("X", array)})
        request = InferRequest("m", id=id, **fields)
        self.answers[id] = []

        def take(response: InferResponse) -> None:
            self.answers[id].append(response)
            if response.final:
                self.order.append(id)
            self.on_answer(response)

        return Pending(request, array.shape[0], time.monotonic_ns(), asyncio.get_running_loop(), take)

    def error(self, id: str):  # noqa: A002  the request's own field name
        (response,) = self.answers[id]
        return response.error

    def output(self, id: str, name="Y"):  # noqa: A002  the request's own field name
        (response,) = self.answers[id]
        assert response.error is None
        return {tensor.name: tensor.array.tolist() for tensor in response.outputs}[name]


def doubled(pending: Pending) -> InferResponse:
    return InferResponse(outputs=[Tensor.from_array("Y", pending.request.inputs["X"].array * 2)])


class HeldInstance:
    """Holds each batch until the test finishes it."""

    def __init__(self, name="m_0", depth=1):
        self.name = name
        self.depth = depth
        self.started: list[tuple[Sequence[Pending], Finished]] = []
        self.has_started = asyncio.Event()
        self.batches: list[list[str]] = []  # ids, as executed

    def start(self, batch, finished):
        self.batches.append([pending.request.id for pending in batch])
        self.started.append((batch, finished))
        self.has_started.set()

    def finish(self, responses=None, position=0, duration_ns=0):
        batch, finished = self.started.pop(position)
        now = time.monotonic_ns()
        answers = [doubled(pending) for pending in batch] if responses is None else responses
        finished(Outcome(answers, Timing(now - duration_ns, now, now, now)))

    async def check_ready(self):
        pass

    async def close(self):
        pass


class Doubling:
    """An executor of Y = 2 X, one request at a time. `wait` runs first, in the executor's thread."""

    def __init__(self, wait: Callable[[Sequence[Pending]], object] = lambda _: None):
        self.wait = wait

    def execute(self, batch):
        start = time.monotonic_ns()
        self.wait(batch)
        return Execution([doubled(pending) for pending in batch], start, time.monotonic_ns())

    def check_ready(self):
        pass

    def close(self):
        pass
