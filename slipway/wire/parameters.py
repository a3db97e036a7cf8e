"""Request parameters: moves reserved ones to the fields of `InferRequest`, the rest to its `parameters`."""

from __future__ import annotations

from typing import Any, Final

from slipway.core.explanation import EXPLAIN, Explanation
from slipway.core.request import SEQUENCE_END, SEQUENCE_START, InferRequest, Parameter
from slipway.errors import SlipwayError, internal, invalid, shown, unsupported
from slipway.wire.json_text import (
    MAX_UNSIGNED,
    NON_BOOLEAN,
    NON_OBJECT_MEMBERS,
    NON_STRING,
    NON_UNSIGNED,
    as_double,
    unparsable,
)

_MAX_CORRELATION_ID: Final = 128  # bytes of UTF-8; Triton's text calls them characters
_RESERVED_PREFIX: Final = "triton_"


def apply_parameters(request: InferRequest, parameters: object) -> bool:
    """Move the members of a request's `parameters` to their fields; return `binary_data_output`."""
    if not isinstance(parameters, dict):
        raise internal(f"failed to get request params.: {NON_OBJECT_MEMBERS}")
    binary = False
    for key, value in parameters.items():
        if key == "binary_data_output":
            binary = _boolean(key, value)
        elif key == "sequence_id":
            request.correlation_id = _correlation_id(value)
        elif key == "sequence_start":
            request.flags |= SEQUENCE_START * _boolean(key, value)
        elif key == "sequence_end":
            request.flags |= SEQUENCE_END * _boolean(key, value)
        elif key == "priority":
            request.priority = unsigned(key, value)
        elif key == "timeout":
            request.timeout_us = unsigned(key, value)
        elif key == EXPLAIN:
            explain(request, value)
        elif key.startswith(_RESERVED_PREFIX):
            raise invalid(
                "parameter keys starting with 'triton_' are reserved for Triton usage and should not be specified."
            )
        else:
            request.parameters[key] = custom_parameter(key, value)
    return binary


def custom_parameter(key: str, value: Any) -> Parameter:
    """Return a custom parameter's value; raise INVALID_ARG for null, arrays and objects."""
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return as_double(value)  # as Triton: an integer of more than 64 bits is a double
    if not isinstance(value, (str, int, float)):
        raise invalid(f"parameter '{shown(key)}' has invalid type. It should be either 'int', 'bool', or 'string'.")
    return value


def explain(request: InferRequest, value: object) -> None:
    """Let a request be explained if `value` is true; raise Triton's error if it is not boolean."""
    request.explanation = Explanation() if _boolean(EXPLAIN, value) else None


def unsigned(key: str, value: object) -> int:
    """Return `value` if it is an integer from 0 to 2^64 - 1; raise Triton's error otherwise."""
    if type(value) is not int or not 0 <= value <= MAX_UNSIGNED:
        raise unparsable(key, NON_UNSIGNED)
    return value


def _boolean(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise unparsable(key, NON_BOOLEAN)
    return value


def _correlation_id(value: object) -> int | str:
    if isinstance(value, str):
        if len(value.encode()) > _MAX_CORRELATION_ID:
            raise _too_long()
        return value
    if type(value) is not int or not 0 <= value <= MAX_UNSIGNED:
        raise unparsable("sequence_id", NON_STRING)
    return value


def _too_long() -> SlipwayError:
    return unsupported(f"string correlation ID cannot be longer than {_MAX_CORRELATION_ID} characters")
