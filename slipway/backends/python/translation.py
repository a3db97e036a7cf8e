"""Translate between the server's requests and answers and those of a Python model.

Knows neither threads nor processes. Thread mode uses all of it; a child process uses the functions, and the server's
side of it `ModelView`.
"""

from __future__ import annotations

from slipway.backends.python.errors import to_server_error
from slipway.backends.python.response import InferenceResponse
from slipway.core.batch import apply_reshape
from slipway.core.request import InferResponse
from slipway.core.signature import ModelSignature
from slipway.core.tensor import Tensor
from slipway.errors import FailureReason, SlipwayError, internal


def server_response(answer: InferenceResponse, *, final: bool, copy: bool = True) -> InferResponse:
    """Return a model's answer as a server value; without `copy` it is valid until the model writes to its arrays."""
    error = answer.error()
    if error is not None:
        return InferResponse(error=to_server_error(error), final=final)
    outputs = [tensor.server_tensor(copy=copy) for tensor in answer.output_tensors()]
    return InferResponse(outputs=outputs, parameters=answer.parameter_values or {}, final=final)


class ModelView:
    """The difference between what clients and the model see: the `reshape` of tensors, and the declared outputs.

    Most models reshape nothing (`reshapes_inputs` is false, and likewise for outputs).
    """

    def __init__(self, signature: ModelSignature) -> None:
        self._model_name = signature.model_name
        self._batched = signature.max_batch_size > 0
        self._declared = signature.outputs
        self._inputs = {name: spec for name, spec in signature.inputs.items() if spec.reshape is not None}
        self._outputs = {name: spec for name, spec in signature.outputs.items() if spec.reshape is not None}
        self.reshapes_inputs = bool(self._inputs)

    def model_shape(self, tensor: Tensor) -> tuple[int, ...]:
        """Return the shape in which the model sees an input."""
        spec = self._inputs.get(tensor.name)
        if spec is None or spec.reshape is None:
            return tensor.shape
        return apply_reshape(tensor.shape, spec.dims, spec.reshape, self._batched)

    def client_answer(self, response: InferResponse) -> InferResponse:
        """Return the answer with only the declared outputs, as in Triton, in the shapes that clients see."""
        outputs = response.outputs
        if any(tensor.name not in self._declared for tensor in outputs):
            response.outputs = outputs = [tensor for tensor in outputs if tensor.name in self._declared]
        if self._outputs:
            try:
                response.outputs = [self._client_tensor(tensor) for tensor in outputs]
            except SlipwayError as unfit:
                return InferResponse(error=unfit, final=response.final)
        return response

    def _client_tensor(self, tensor: Tensor) -> Tensor:
        """Return an output in the shape that clients see; raise INTERNAL if its shape contradicts the config."""
        spec = self._outputs.get(tensor.name)
        if spec is None or spec.reshape is None:
            return tensor
        try:
            return tensor.reshaped(apply_reshape(tensor.shape, spec.reshape, spec.dims, self._batched))
        except ValueError as error:
            raise internal(
                f"output '{tensor.name}' of model '{self._model_name}' has shape {list(tensor.shape)}, which the "
                f"configured reshape {list(spec.reshape)} does not fit",
                reason=FailureReason.BACKEND,
            ) from error
