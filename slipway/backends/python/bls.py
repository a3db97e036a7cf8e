"""Business logic scripting: a Python model runs other models.

The answers arrive on the server's side (the event loop, or a child's reader thread) and cross to the model through a
queue or a future; nothing here blocks that side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from queue import SimpleQueue
from typing import Any

from slipway.backends.python.errors import TritonModelException, to_triton_error
from slipway.backends.python.response import InferenceResponse
from slipway.backends.python.scope import ModelScope
from slipway.backends.python.server import Cancel, Server
from slipway.backends.python.tensor import ModelTensor
from slipway.core.request import InferRequest, InferResponse


class ResponseIterator:
    """The answers of a decoupled BLS request, as they come; the last may be empty, as in Triton."""

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
        """Tell the called model that its answers are no longer wanted."""
        self._cancel()

    def __del__(self) -> None:
        if not self._ended:
            self._cancel()


def execute(scope: ModelScope | None, request: InferRequest) -> InferenceResponse:
    """Run a request and wait for its one answer."""
    answers: SimpleQueue[InferResponse] = SimpleQueue()
    _server(scope).submit(request, answers.put, decoupled=False)
    return to_model(answers.get())


def stream(scope: ModelScope | None, request: InferRequest) -> ResponseIterator:
    """Start a request and return its answers as they come."""
    answers: SimpleQueue[InferResponse] = SimpleQueue()
    return ResponseIterator(answers, _server(scope).submit(request, answers.put, decoupled=True))


def execute_async(scope: ModelScope | None, request: InferRequest) -> Awaitable[InferenceResponse]:
    """Start a request on the running event loop and return its awaitable answer; cancelling it cancels the request."""
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
    """Start a request and return its answers; the iterator itself is a blocking one, as in Triton."""
    return stream(scope, request)


def to_model(answer: InferResponse) -> InferenceResponse:
    """Return a server's answer as a model sees it."""
    if answer.error is not None:
        return InferenceResponse([], to_triton_error(answer.error))
    response = InferenceResponse([ModelTensor.of(tensor) for tensor in answer.outputs])
    response.set_parameters(answer.parameters)
    return response


def _resolve(future: asyncio.Future[InferenceResponse], answer: InferResponse) -> None:
    if not future.done():
        future.set_result(to_model(answer))


def _server(scope: ModelScope | None) -> Server:
    if scope is None:
        raise TritonModelException("BLS is only supported in a model that the server runs.")
    return scope.require_serving()
