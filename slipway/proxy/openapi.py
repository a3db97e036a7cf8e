"""The OpenAPI description of the models' routes: field names, types, shapes and examples, from their descriptions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import quote

from slipway.proxy.body import PARAMETERS, RoutedModel
from slipway.proxy.description import TensorDescription
from slipway.proxy.encoded_bytes import ENCODED
from slipway.proxy.failures import FAILED

Schema = dict[str, Any]

_EXAMPLE_SIZE: Final = 2  # of an axis that varies
_MAX_EXAMPLE: Final = 16  # elements of an example; larger ones would hide the rest of the page
_WHOLE: Final = {"INT": "integer", "UIN": "integer", "BOO": "boolean", "BYT": "string"}
_EXAMPLES: Final = {"integer": 1, "number": 1.0, "boolean": True, "string": "text"}
_REFERENCE: Final = "#/components/schemas/"
_FAILURE: Final = {
    "type": "object",
    "properties": {"error": {"type": "string"}, "details": {"type": "string"}},
    "required": ["error", "details"],
    "example": {"error": FAILED, "details": "[StatusCode.UNAVAILABLE] ..."},
}
_REFUSAL: Final = {
    "type": "object",
    "properties": {
        "detail": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "type": {"type": "string"},
                    "loc": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
                    "msg": {"type": "string"},
                },
                "required": ["type", "loc", "msg"],
            },
        }
    },
}


def add_models(document: Schema, models: Iterable[RoutedModel]) -> Schema:
    """Return the OpenAPI document with a route for each model."""
    paths = dict(document.get("paths", {}))
    schemas = dict(document.get("components", {}).get("schemas", {}))
    schemas |= {"Failure": _FAILURE, "RefusedBody": _REFUSAL}
    for place, model in enumerate(sorted(models, key=lambda each: each.description.name)):
        name = model.description.name
        request, response = f"Request{place}", f"Response{place}"
        schemas[request] = {"title": f"{name} request", **_request(model)}
        schemas[response] = {"title": f"{name} response", **_response(model)}
        path = f"/models/{quote(name, safe='')}"
        paths[path] = {**paths.get(path, {}), "post": _operation(model, request, response)}
    return {**document, "paths": paths, "components": {**document.get("components", {}), "schemas": schemas}}


def _operation(model: RoutedModel, request: str, response: str) -> Schema:
    about = model.description
    batch = f"At most {about.max_batch_size} rows." if about.max_batch_size else "Without a batch axis."
    media = "text/event-stream" if about.is_decoupled else "application/json"
    failure = {"application/json": {"schema": {"$ref": f"{_REFERENCE}Failure"}}}
    sent = "Each event's data is such an object." if about.is_decoupled else "The outputs"
    return {
        "tags": ["models"],
        "summary": about.name,
        "description": f"{batch} Platform: {about.platform or 'unknown'}.",
        "operationId": f"predict_{request}",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": f"{_REFERENCE}{request}"}}},
        },
        "responses": {
            "200": {"description": sent, "content": {media: {"schema": {"$ref": f"{_REFERENCE}{response}"}}}},
            "422": {
                "description": "The body does not fit the model",
                "content": {"application/json": {"schema": {"$ref": f"{_REFERENCE}RefusedBody"}}},
            },
            "default": {"description": "The server refused the request or failed", "content": failure},
        },
    }


def _request(model: RoutedModel) -> Schema:
    about = model.description
    properties = {each.name: _input(each) for each in about.inputs}
    if model.document and model.document.switch:
        other = f"ask {model.document.other_model} instead"
        properties[model.document.switch] = {"type": "boolean", "default": False, "description": other}
    if model.has_parameters:
        scalar = {"type": ["boolean", "integer", "number", "string"]}
        properties[PARAMETERS] = {
            "type": "object",
            "additionalProperties": scalar,
            "description": "Parameters of the request",
        }
    required = [each.name for each in about.inputs if not each.optional]
    example = {each.name: _example(each) for each in about.inputs if not each.optional}
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": required, "example": example} if required else schema


def _response(model: RoutedModel) -> Schema:
    renamed = model.document.renamed if model.document else {}
    outputs = {
        renamed.get(each.name, each.name): {**_lists(each, len(each.shape)), "description": _shape(each)}
        for each in model.description.outputs
    }
    return {"type": "object", "properties": outputs}


def _input(tensor: TensorDescription) -> Schema:
    forms = [*_forms(tensor), _encoded(tensor)]
    schema: Schema = forms[0] if len(forms) == 1 else {"anyOf": forms}
    return {**schema, "description": _shape(tensor), "examples": [_example(tensor)]}


def _forms(tensor: TensorDescription) -> Iterator[Schema]:
    """Yield the forms of a value: the whole tensor, and those that leave out axes that are, or can be, 1."""
    for depth in range(len(tensor.shape), -1, -1):
        yield _lists(tensor, depth)
        left = tensor.shape[len(tensor.shape) - depth :] if depth else ()
        if depth and not _can_be_left_out(tensor, left):
            return


def _can_be_left_out(tensor: TensorDescription, left: tuple[int, ...]) -> bool:
    """Return whether a value may have one level of lists less than `left`."""
    return left[0] in (1, -1) or tensor.shape[-1] == 1


def _lists(tensor: TensorDescription, depth: int) -> Schema:
    schema: Schema = {"type": _kind(tensor)}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


def _encoded(tensor: TensorDescription) -> Schema:
    what = "bytes, such as an image file" if tensor.datatype.name == "BYTES" else "the tensor's little-endian bytes"
    return {
        "type": "object",
        "properties": {ENCODED: {"type": "string", "contentEncoding": "base64", "description": f"{what}, in base64"}},
        "required": [ENCODED],
        "additionalProperties": False,
    }


def _shape(tensor: TensorDescription) -> str:
    sizes = ", ".join("any" if size == -1 else str(size) for size in tensor.shape)
    return f"{tensor.datatype.name} [{sizes}]" + (", optional" if tensor.optional else "")


def _kind(tensor: TensorDescription) -> str:
    return _WHOLE.get(tensor.datatype.name[:3], "number")


def _example(tensor: TensorDescription) -> Any:
    """Return a small value: one row, without the axes of size 1."""
    value: Any = _EXAMPLES[_kind(tensor)]
    sizes = [_EXAMPLE_SIZE if size == -1 else size for size in tensor.shape[1:] or tensor.shape]
    if tensor.datatype.name == "BYTES" and all(size in (1, _EXAMPLE_SIZE) for size in sizes):
        return value
    count = 1
    for size in reversed(sizes):
        count *= size
        if count > _MAX_EXAMPLE:
            return {ENCODED: "..."}
        value = [value] * size
    return value
