"""The body of a request to the server's ModelInfer call: JSON fields by the model's inputs. Pure.

The fields are a closed world: the inputs, `parameters`, and for some routes of test-triton-pub a switch between models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from tritonclient.grpc import service_pb2

from slipway.errors import shown
from slipway.nearest import nearest_or_all
from slipway.proxy.description import ProxiedModel
from slipway.proxy.document import DocumentRoute
from slipway.proxy.elements import checked
from slipway.proxy.failures import RefusedBody, problem
from slipway.proxy.inputs import encode_input

PARAMETERS: Final = "parameters"
_SEQUENCE: Final = ("sequence_id", "sequence_start", "sequence_end")
_SMALL: Final = 4096  # bytes of a body in which all problems are looked for
_INT64: Final = range(-(2**63), 2**63)
_UINT64: Final = range(2**63, 2**64)
_OBJECT: Final = "Input should be a valid dictionary or object to extract fields from"


@dataclass(frozen=True, slots=True)
class RoutedModel:
    """A model with a route: its description, and test-triton-pub's route if it has the tensors of that."""

    description: ProxiedModel
    document: DocumentRoute | None = None

    @property
    def has_parameters(self) -> bool:
        """Whether the field `parameters` holds those of the request: if the model does not have such an input."""
        return all(each.name != PARAMETERS for each in self.description.inputs)

    @property
    def fields(self) -> list[str]:
        """The names of all fields."""
        further = [PARAMETERS] if self.has_parameters else []
        switch = [self.document.switch] if self.document and self.document.switch else []
        return [*(each.name for each in self.description.inputs), *switch, *further]


@dataclass(slots=True)
class ReadBody:
    """The message for ModelInfer, and whether the call may be repeated: not if the model keeps what it did."""

    message: bytes
    repeatable: bool = True


def read_fields(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body; raise `RefusedBody`, with FastAPI's texts."""
    if not body:
        raise RefusedBody([problem("missing", (), "Field required", None)])
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RefusedBody([problem("json_invalid", (error.pos,), "JSON decode error", {}, error=error.msg)]) from None
    if not isinstance(fields, dict):
        raise RefusedBody([problem("model_attributes_type", (), _OBJECT, fields)])
    return fields


def encode_body(model: RoutedModel, fields: dict[str, Any], request_id: str, *, size: int) -> ReadBody:
    """Return the call for the fields of a body of `size` bytes; raise `RefusedBody` with all that is wrong if the body
    is small, otherwise with the first fault."""
    all_problems = size <= _SMALL
    problems: list[dict[str, Any]] = []
    request = service_pb2.ModelInferRequest(model_name=model.description.name, id=request_id)
    used = 0
    for tensor in model.description.inputs:
        if tensor.name not in fields:
            if not tensor.optional:
                problems.append(problem("missing", (tensor.name,), "Field required", fields))
            continue
        used += 1
        try:
            shape, raw = encode_input(tensor, fields[tensor.name], all_problems=all_problems)
        except RefusedBody as refusal:
            problems += refusal.problems
            continue
        request.inputs.add(name=tensor.name, datatype=tensor.datatype.name, shape=shape)
        request.raw_input_contents.append(raw)
    repeatable = True
    if used < len(fields):
        repeatable = _add_others(request, model, fields, problems, all_problems=all_problems)
    if problems:
        raise RefusedBody(problems)
    return ReadBody(request.SerializeToString(), repeatable)


def _add_others(
    request: service_pb2.ModelInferRequest,
    model: RoutedModel,
    fields: Mapping[str, Any],
    problems: list[dict[str, Any]],
    *,
    all_problems: bool,
) -> bool:
    """Add what the fields that are not inputs say, and the problems of those that do not exist; return whether the call
    may be repeated."""
    inputs = {each.name for each in model.description.inputs}
    repeatable = True
    for name in (name for name in fields if name not in inputs):
        if name == PARAMETERS and model.has_parameters:
            problems += _set_parameters(request, fields[name])
            repeatable = not any(key in request.parameters for key in _SEQUENCE)
        elif model.document and name == model.document.switch:
            try:
                if checked("BOOL", 0, fields[name], (name,), all_problems=all_problems):
                    request.model_name = model.document.other_model
            except RefusedBody as refusal:
                problems += refusal.problems
        else:
            hint = nearest_or_all(name, model.fields)
            problems.append(problem("extra_forbidden", (shown(name),), f"Extra inputs are not permitted{hint}", None))
    return repeatable


def _set_parameters(request: service_pb2.ModelInferRequest, values: object) -> list[dict[str, Any]]:
    """Set the parameters of a request; return what is wrong with them."""
    if not isinstance(values, dict):
        return [problem("dict_type", (PARAMETERS,), "Input should be a valid dictionary", values)]
    problems = []
    for name, value in values.items():
        parameter = request.parameters[name]
        if isinstance(value, bool):
            parameter.bool_param = value
        elif isinstance(value, int) and value in _INT64:
            parameter.int64_param = value
        elif isinstance(value, int) and value in _UINT64:
            parameter.uint64_param = value
        elif isinstance(value, float):
            parameter.double_param = value
        elif isinstance(value, str):
            parameter.string_param = value
        else:
            message = "Input should be a boolean, a number or a text"
            problems.append(problem("parameter_type", (PARAMETERS, shown(name)), message, value))
    return problems
