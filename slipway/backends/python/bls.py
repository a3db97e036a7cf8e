"""Business logic scripting: a Python model runs other models.

The answers arrive on a server thread (the event loop, or a child's reader thread) and reach the model through a queue
or a future; nothing here blocks that thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from queue import SimpleQueue
from typing import Any

from slipway.backends.python.errors import TritonModelException, to_triton_error
from slipway.backends.python.response import InferenceResponse
from slipway.backends.python.scope import ModelScope
from slipway.backends.python.server import Cancel, ServerServices
from slipway.backends.python.tensor import ModelTensor
from slipway.core.request import InferRequest, InferResponse


class ResponseIterator:
    """The answers to a decoupled BLS request, as they arrive; the last may be empty, as in Triton."""

    def __init__(self, answers: SimpleQueue[InferResponse], cancel: Cancel) -> None:
        self._answers = answers
        self._cancel = cancel
        self._ended = False

    def __iter__(self) -> Iterator[InferenceResponse]:
        return self

    def __next__(self) -> InferenceResponse:
        if self._ended:
            raise StopIteration
        answer = self._answers.get()
        self._ended = answer.final
        return to_model(answer)

    def cancel(self) -> None:
        """Cancel the request: the called model's answers are no longer wanted."""
        self._cancel()

    def __del__(self) -> None:
        if not self._ended:
            self._cancel()


def execute(scope: ModelScope | None, request: InferRequest) -> InferenceResponse:
    """Run a request and wait for its only answer."""
    answers: SimpleQueue[InferResponse] = SimpleQueue()
    _server(scope).submit(request, answers.put, decoupled=False)
    return to_model(answers.get())


def stream(scope: ModelScope | None, request: InferRequest) -> ResponseIterator:
    """Start a request and return its answers as they arrive."""
    answers: SimpleQueue[InferResponse] = SimpleQueue()
    return ResponseIterator(answers, _server(scope).submit(request, answers.put, decoupled=True))


def execute_async(scope: ModelScope | None, request: InferRequest) -> Awaitable[InferenceResponse]:
    """Start a request; return an awaitable of its answer on the running event loop, whose cancellation cancels it."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[InferenceResponse] = loop.create_future()

    def deliver(answer: InferResponse) -> None:
        loop.call_soon_threadsafe(_resolve, future, answer)

    cancel = _server(scope).submit(request, deliver, decoupled=False)

    def cancel_request(done: asyncio.Future[Any]) -> None:
        if done.cancelled():
            cancel()

    future.add_done_callback(cancel_request)
    return future


async def stream_async(scope: ModelScope | None, request: InferRequest) -> ResponseIterator:
    """Start a request and return its answers; the iterator blocks, as in Triton."""
    return stream(scope, request)


def to_model(answer: InferResponse) -> InferenceResponse:
    """Return the server's answer as the model sees it."""
    if answer.error is not None:
        return InferenceResponse([], to_triton_error(answer.error))
    response = InferenceResponse([ModelTensor.of(tensor) for tensor in answer.outputs])
    response.set_parameters(answer.parameters)
    return response


def _resolve(future: asyncio.Future[InferenceResponse], answer: InferResponse) -> None:
    if not future.done():
        future.set_result(to_model(answer))


def _server(scope: ModelScope | None) -> ServerServices:
    if scope is None:
        raise TritonModelException("BLS is only supported in a model that a server runs.")
    return scope.require_serving()
