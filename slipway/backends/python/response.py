"""`pb_utils.InferenceResponse`: a model's answer to a request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from slipway.backends.python.errors import TritonError, TritonModelException
from slipway.backends.python.signatures import Native, Signature, StubParameter, an, anything, optional, sequence_of
from slipway.backends.python.tensor import ModelTensor
from slipway.core.request import Parameter

_TENSORS: Final = frozenset((ModelTensor,))
_RESPONSE: Final = Signature(
    "__init__",
    "c_python_backend_utils.InferenceResponse(output_tensors: List[c_python_backend_utils.Tensor] = [], "
    "error: c_python_backend_utils.TritonError = None, parameters: object = None)",
    StubParameter("output_tensors", sequence_of(optional(an(ModelTensor))), ()),
    StubParameter("error", optional(an(TritonError)), None),
    StubParameter("parameters", anything, None),
)


class InferenceResponse(Native):
    """One answer: output tensors, or an error, and parameters."""

    __slots__ = ("_error", "_outputs", "_parameters")
    native_name = "InferenceResponse"

    def __init__(self, *given: Any, **named: Any) -> None:
        if len(given) + len(named) == 1:  # only tensors, as usual: a fifth of the time
            given_tensors = given[0] if given else named.get("output_tensors")
            if type(given_tensors) is list and _TENSORS.issuperset(map(type, given_tensors)):
                self._outputs: list[ModelTensor] = list(given_tensors)
                self._error = self._parameters = None
                return
        tensors, self._error, parameters = _RESPONSE.bind((), given, named)
        self._outputs = list(tensors)
        if None in tensors:
            raise TritonModelException("Output tensor for inference response should not be empty.")
        self._parameters = None if parameters is None else checked_parameters(parameters)

    def output_tensors(self) -> list[ModelTensor]:
        """Return the output tensors."""
        return self._outputs

    def has_error(self) -> bool:
        """Return whether this is an error."""
        return self._error is not None

    def error(self) -> TritonError | None:
        """Return the error, or None."""
        error: TritonError | None = self._error
        return error

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
    if not isinstance(parameters, Mapping):  # the stub shows the name of the C++ type
        raise TritonModelException(f"Expect N8pybind114dictE, got {type(parameters)}")
    for key, value in parameters.items():
        if not isinstance(key, str):
            raise TritonModelException(f"Expect parameters keys to have type str, found type {type(key)}")
        if not isinstance(value, bool | int | str):
            raise TritonModelException(f"Expect parameters values to have type bool/int/str, found type {type(value)}")
    return dict(parameters)
