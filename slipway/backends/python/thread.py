"""Thread mode (`EXECUTION_MODE: thread`): a Python model inside the server's process.

Implements `backends.api.Executor` around a `PythonModel`: requests are handed over without messages, answers are
copied once, since the model may write to its arrays again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic_ns

from slipway.backends.api import Execution
from slipway.backends.python.errors import abandoned, to_server_error
from slipway.backends.python.model import Answer, PythonModel
from slipway.backends.python.reply import ReplyState
from slipway.backends.python.request import InferenceRequest
from slipway.backends.python.reshape import Reshapes
from slipway.backends.python.response import InferenceResponse
from slipway.backends.python.tensor import ModelTensor
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
        self._translate = Translation(signature)
        self._outputs = tuple(signature.outputs)
        self._decoupled = signature.decoupled
        self._closed = closed

    def execute(self, batch: Sequence[Pending]) -> Execution:
        """Run the batch as one call of the model's `execute`."""
        requests = [self._received(pending) for pending in batch]
        input_end = monotonic_ns()
        answers = self._model.execute(requests)
        output_start = monotonic_ns()
        return Execution([self._response(answer) for answer in answers], input_end, output_start)

    def check_ready(self) -> None:
        """Raise `SlipwayError` when the model's own `is_ready` says no."""
        self._model.check_ready()

    def close(self) -> None:
        """Finalize the model and forget its modules."""
        self._model.finalize()
        self._closed()

    def _received(self, pending: Pending) -> InferenceRequest:
        request = pending.request
        shapes = self._translate.reshapes
        inputs = [
            ModelTensor.received(
                tensor.name,
                tensor.datatype,
                shapes.model_shape(tensor) if shapes.inputs else tensor.shape,
                tensor.array if tensor.is_decoded else tensor.raw,
            )
            for tensor in request.inputs.values()
        ]
        reply = ReplyState(_PendingSink(pending, self._translate), self._decoupled)
        return self._request_type.received(request, inputs, request.outputs or self._outputs, reply)

    def _response(self, answer: Answer) -> InferResponse | None:
        if answer is None:
            return None
        if isinstance(answer, SlipwayError):
            return InferResponse(error=answer)
        return self._translate.response(answer, final=True)


class Translation:
    """A model's answers as the server's, declared outputs only, as in Triton."""

    def __init__(self, signature: ModelSignature) -> None:
        self.model_name = signature.model_name
        self.reshapes = Reshapes(signature)
        self._outputs = signature.outputs

    def response(self, answer: InferenceResponse, *, final: bool) -> InferResponse:
        """Return an answer of the model as one of the server."""
        error = answer.error()
        if error is not None:
            return InferResponse(error=to_server_error(error), final=final)
        response = InferResponse(final=final)
        response.outputs = [
            tensor.server_tensor() for tensor in answer.output_tensors() if tensor.name() in self._outputs
        ]
        if self.reshapes.outputs:
            try:
                response.outputs = [self.reshapes.client_tensor(tensor) for tensor in response.outputs]
            except SlipwayError as unfit:
                return InferResponse(error=unfit, final=final)
        if answer.parameter_values:
            response.parameters = answer.parameter_values
        return response


class _PendingSink:
    """Passes what a response sender sends to the request's `Pending`."""

    __slots__ = ("_pending", "_translate")

    def __init__(self, pending: Pending, translate: Translation) -> None:
        self._pending = pending
        self._translate = translate

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        if response is None:
            self._pending.send(InferResponse(final=final, empty=True))
        else:
            self._pending.send(self._translate.response(response, final=final))

    def is_cancelled(self) -> bool:
        return self._pending.cancelled

    def abandon(self) -> None:
        self._pending.send(InferResponse(error=abandoned(self._translate.model_name)))
