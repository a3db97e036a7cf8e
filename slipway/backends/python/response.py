"""`pb_utils.InferenceResponse`: a model's answer to a request."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from slipway.backends.python.errors import TritonError, TritonModelException
from slipway.backends.python.tensor import ModelTensor
from slipway.core.request import Parameter


class InferenceResponse:
    """One answer: output tensors, or an error."""

    __slots__ = ("_error", "_outputs", "_parameters")

    def __init__(
        self,
        output_tensors: Sequence[ModelTensor] = (),
        error: TritonError | None = None,
        parameters: Mapping[str, Parameter] | None = None,
    ) -> None:
        outputs = list(output_tensors)
        for tensor in outputs:
            if not isinstance(tensor, ModelTensor):
                if tensor is None:
                    raise TritonModelException("Output tensor for inference response should not be empty.")
                raise TypeError(f"InferenceResponse takes a list of Tensor, found {type(tensor)}")
        if error is not None and not isinstance(error, TritonError):
            raise TypeError(f"InferenceResponse takes a TritonError as error, found {type(error)}")
        self._outputs = outputs
        self._error = error
        self._parameters = None if parameters is None else checked_parameters(parameters)

    def output_tensors(self) -> list[ModelTensor]:
        """Return the output tensors."""
        return self._outputs

    def has_error(self) -> bool:
        """Return whether this is an error."""
        return self._error is not None

    def error(self) -> TritonError | None:
        """Return the error, or None."""
        return self._error

    def parameters(self) -> str:
        """Return the parameters as a JSON object."""
        return json.dumps(self._parameters or {}, ensure_ascii=False)

    def set_parameters(self, parameters: dict[str, Parameter]) -> None:
        """Set the parameters of another model's answer, unchecked."""
        self._parameters = parameters

    @property
    def parameter_values(self) -> dict[str, Parameter] | None:
        """The parameters by name, or None if there are none."""
        return self._parameters


def checked_parameters(parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """Return a copy of `parameters`; raise `TritonModelException` for a key or value that a request cannot carry."""
    if not isinstance(parameters, Mapping):
        raise TritonModelException(f"Expect parameters to be a dict, found type {type(parameters)}")
    for key, value in parameters.items():
        if not isinstance(key, str):
            raise TritonModelException(f"Expect parameters keys to have type str, found type {type(key)}")
        if not isinstance(value, bool | int | str):
            raise TritonModelException(f"Expect parameters values to have type bool/int/str, found type {type(value)}")
    return dict(parameters)
