"""Thread mode (`EXECUTION_MODE: thread`): a Python model inside the server's process.

Implements `backends.api.Executor` around a `PythonModel`. Requests are handed over without messages; answers are copied
once, since the model may write to its arrays later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic_ns

from slipway.backends.api import Execution
from slipway.backends.python.errors import abandoned
from slipway.backends.python.model import Answer, PythonModel
from slipway.backends.python.parents import CURRENT, BatchCalls
from slipway.backends.python.reply import ReplyState
from slipway.backends.python.request import InferenceRequest
from slipway.backends.python.response import InferenceResponse
from slipway.backends.python.tensor import ModelTensor
from slipway.backends.python.translation import ModelView, server_response
from slipway.backends.shared.paced import send_paced
from slipway.core.pending import Pending
from slipway.core.request import InferResponse
from slipway.core.signature import ModelSignature
from slipway.errors import SlipwayError


class ThreadExecutor:
    """One instance of a Python model in the calling thread."""

    def __init__(
        self,
        model: PythonModel,
        request_type: type[InferenceRequest],
        signature: ModelSignature,
        closed: Callable[[], None],
    ) -> None:
        self._model = model
        self._request_type = request_type
        self._view = ModelView(signature)
        self._model_name = signature.model_name
        self._outputs = tuple(signature.outputs)
        self._decoupled = signature.decoupled
        self._closed = closed

    def execute(self, batch: Sequence[Pending]) -> Execution:
        """Run the batch as one call of the model's `execute`."""
        requests = [self._received(pending) for pending in batch]
        input_end = monotonic_ns()
        CURRENT.set(BatchCalls(batch))
        answers = self._model.execute(requests)
        output_start = monotonic_ns()
        CURRENT.set(None)
        return Execution([self._response(answer) for answer in answers], input_end, output_start)

    def check_ready(self) -> None:
        """Raise `SlipwayError` if the model's own `is_ready` says that it is not ready."""
        self._model.check_ready()

    def close(self) -> None:
        """Finalize the model and forget its modules."""
        self._model.finalize()
        self._closed()

    def _received(self, pending: Pending) -> InferenceRequest:
        request = pending.request
        shape_of = self._view.model_shape if self._view.reshapes_inputs else None
        inputs = [ModelTensor.of(tensor, shape_of and shape_of(tensor)) for tensor in request.inputs.values()]
        reply = ReplyState(_PendingSink(pending, self._view, self._model_name), self._decoupled)
        return self._request_type.received(request, inputs, request.outputs or self._outputs, reply)

    def _response(self, answer: Answer) -> InferResponse | None:
        if answer is None or isinstance(answer, InferResponse):
            return answer
        if isinstance(answer, SlipwayError):
            return InferResponse(error=answer)
        return self._view.client_answer(server_response(answer, final=True))


class _PendingSink:
    """Passes the answers of a response sender to the request's `Pending`."""

    __slots__ = ("_model_name", "_pending", "_view")

    def __init__(self, pending: Pending, view: ModelView, model_name: str) -> None:
        self._pending = pending
        self._view = view
        self._model_name = model_name

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        if response is None:
            self._pending.send(InferResponse(final=final, empty=True))
            return
        send_paced(self._pending, self._view.client_answer(server_response(response, final=final)))

    def is_cancelled(self) -> bool:
        return self._pending.cancelled

    def abandon(self) -> None:
        self._pending.send(InferResponse(error=abandoned(self._model_name)))
