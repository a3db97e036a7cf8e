"""The sequence fields of a generate request, which come as parameters. Pure.

In a generate request every key that is not an input is a parameter, also `sequence_id`, `sequence_start` and
`sequence_end`. Triton refuses such a request to a model that serves sequences, because it lacks an id; here the keys
mean what they mean in an infer request. Infer requests do not have such parameters: their fronts move them to their own
fields.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from slipway.core.request import SEQUENCE_END, SEQUENCE_START, InferRequest
from slipway.errors import invalid

_ID: Final = "sequence_id"
_FLAGS: Final = {"sequence_start": SEQUENCE_START, "sequence_end": SEQUENCE_END}
_MAX_BYTES: Final = 128  # of an id, as in infer requests


def with_sequence_fields(request: InferRequest) -> InferRequest:
    """Return the request with its sequence parameters in their fields; raise INVALID_ARG for a wrong type."""
    if _ID not in request.parameters:
        return request
    parameters = dict(request.parameters)
    sequence_id = parameters.pop(_ID)
    if isinstance(sequence_id, str):
        if len(sequence_id.encode()) > _MAX_BYTES:
            raise invalid(f"string correlation ID cannot be longer than {_MAX_BYTES} characters")
    elif isinstance(sequence_id, bool | float) or sequence_id < 0:
        raise invalid(f"parameter '{_ID}' is {sequence_id}, expected a string or a number of 0 or more")
    flags = request.flags
    for key, flag in _FLAGS.items():
        value = parameters.pop(key, False)
        if not isinstance(value, bool):
            raise invalid(f"parameter '{key}' is {value!r}, expected true or false")
        flags |= flag * value
    return replace(request, parameters=parameters, correlation_id=sequence_id, flags=flags)
