"""The `reshape` of a config's inputs and outputs: the shape the client sees against the one the model sees."""

from __future__ import annotations

from slipway.core.batch import apply_reshape
from slipway.core.signature import ModelSignature
from slipway.core.tensor import Tensor
from slipway.errors import FailureReason, internal


class Reshapes:
    """The tensors of one model that are reshaped on their way; most models have none (`inputs`, `outputs` empty)."""

    def __init__(self, signature: ModelSignature) -> None:
        self.inputs = {name: spec for name, spec in signature.inputs.items() if spec.reshape is not None}
        self.outputs = {name: spec for name, spec in signature.outputs.items() if spec.reshape is not None}
        self._model_name = signature.model_name
        self._batched = signature.max_batch_size > 0

    def model_shape(self, tensor: Tensor) -> tuple[int, ...]:
        """Return the shape in which the model sees an input."""
        spec = self.inputs.get(tensor.name)
        if spec is None or spec.reshape is None:
            return tensor.shape
        return apply_reshape(tensor.shape, spec.dims, spec.reshape, self._batched)

    def client_tensor(self, tensor: Tensor) -> Tensor:
        """Return an output in the shape the client sees; raise INTERNAL when the model gave another number of dims."""
        spec = self.outputs.get(tensor.name)
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
