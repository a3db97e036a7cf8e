"""The generate extension: decodes a flat JSON object to an `InferRequest` and encodes an `InferResponse` to one.

Source: Triton extension_generate.md. A member with an input's name is that input; any other is a request parameter.
"""

from __future__ import annotations

from math import prod
from typing import Any, Final

import msgspec
import numpy as np
import orjson

from slipway.core.explanation import EXPLAIN
from slipway.core.large_work import LARGE
from slipway.core.request import InferRequest, InferResponse
from slipway.core.signature import ModelSignature, TensorSpec
from slipway.core.tensor import CountedTensor, Tensor
from slipway.errors import SlipwayError, internal, invalid
from slipway.wire.duplicate_keys import count_colons, duplicate_key, given_twice
from slipway.wire.encode import json_data
from slipway.wire.json_pieces import array_pieces, scalar_pieces
from slipway.wire.json_strings import starts_with, wire_form
from slipway.wire.json_tensor import count_numbers, decode_tensor, flatten
from slipway.wire.json_text import (
    NON_OBJECT_MEMBERS,
    NON_STRING,
    NOT_JSON,
    malformed,
    parse,
    refuse_lone_surrogates,
    too_deep,
    unparsable,
)
from slipway.wire.parameters import custom_parameter, explain

_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NESTED: Final = "parameters"


def decode_generate(body: bytes | bytearray, model_version: str, signature: ModelSignature) -> InferRequest:
    """Return the request of a generate call; raise `SlipwayError` with Triton's text."""
    members = _members(body)
    refuse_lone_surrogates(body)
    if count_colons(body) != len(members):  # colons in strings or in nested objects, or keys given twice
        _refuse_repeated(body, signature)
    request = InferRequest(signature.model_name, model_version)
    for key, value in members.items():
        if key == _NESTED and key not in signature.inputs:
            _add_nested(request, value, signature)
        else:
            _add(request, key, value, signature)
    return request


def encode_generate(response: InferResponse) -> bytes | None:
    """Return the flat JSON object of a response; tensors of one element are scalars. None if the response is large."""
    document = _head(response)
    for tensor in response.outputs:
        value = _value(tensor)
        if value is None:
            return None
        document[tensor.name] = value
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def encode_large_generate(response: InferResponse) -> list[bytes]:
    """Return what `encode_generate` would return, in pieces; for threads.

    Also raises INVALID_ARG for strings that exceed the limit of a response.
    """
    response.limit_exactly()
    if response.error is not None:
        raise response.error
    members = _head(response)
    for tensor in response.outputs:
        members[tensor.name] = None
    values = {tensor.name: tensor for tensor in response.outputs}
    parts: list[bytes] = []
    for key, value in members.items():
        parts += (b"," if parts else b"{", orjson.dumps(key), b":")
        if key not in values:
            parts.append(orjson.dumps(value))
        elif (data := _value(values[key])) is not None:
            parts.append(orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY))
        else:
            tensor = values[key]
            parts += scalar_pieces(tensor) if tensor.element_count == 1 else array_pieces(tensor)
    parts.append(b"}")
    return parts


def _head(response: InferResponse) -> dict[str, Any]:
    document: dict[str, Any] = {"id": response.id} if response.id else {}
    document["model_name"] = response.model_name
    document["model_version"] = response.model_version
    document.update(response.parameters)
    return document


def _members(text: bytes | bytearray) -> dict[str, Any]:
    """Return the members of the document: their text, or their values where the text is not strict JSON (NaN)."""
    if not text:
        raise malformed("The document is empty.")
    members: dict[str, Any]
    try:
        members = _MEMBERS.decode(text)
    except RecursionError:
        raise too_deep() from None
    except msgspec.ValidationError:
        parse(text)  # what is not JSON at all is refused for that
        raise internal(NON_OBJECT_MEMBERS) from None
    except NOT_JSON:
        members = parse(text)  # as infer reads it: with NaN, Infinity and a byte order mark
        if not isinstance(members, dict):
            raise internal(NON_OBJECT_MEMBERS) from None
    return members


def _refuse_repeated(text: bytes | bytearray, signature: ModelSignature) -> None:
    """Raise INVALID_ARG for a key that appears twice, with Triton's text if it names an input."""
    key = duplicate_key(text)
    if key is None:
        return
    raise _already_given(InferRequest(signature.model_name), key) if key in signature.inputs else given_twice(key)


def _add_nested(request: InferRequest, value: object, signature: ModelSignature) -> None:
    members = _value_of(value)
    if not isinstance(members, dict):
        raise internal("Expected JSON object for keyword: 'parameters': attempt to access JSON non-object as object")
    try:
        for key, member in members.items():
            _add(request, key, member, signature)
    except SlipwayError as error:
        raise SlipwayError(error.code, f"Converting keyword: 'parameters': {error.message}") from None


def _value_of(value: object) -> Any:
    return parse(bytes(value)) if isinstance(value, msgspec.Raw) else value


def _add(request: InferRequest, key: str, value: object, signature: ModelSignature) -> None:
    spec = signature.inputs.get(key)
    if spec is not None:
        if key in request.inputs:
            raise _already_given(request, key)
        request.inputs[key] = _tensor(spec, value, batched=signature.max_batch_size > 0)
        return
    parsed = _value_of(value)
    if key == EXPLAIN:
        explain(request, parsed)
        return
    if key == "id":
        if not isinstance(parsed, str):
            raise unparsable("id", NON_STRING)
        request.id = parsed
    request.parameters[key] = custom_parameter(key, parsed)


def _already_given(request: InferRequest, name: str) -> SlipwayError:
    return invalid(f"{request.log_prefix}input '{name}' already exists in request")


def _tensor(spec: TensorSpec, value: object, *, batched: bool) -> Tensor:
    data: msgspec.Raw | list[Any]
    if isinstance(value, msgspec.Raw) and len(memoryview(value)) > LARGE:
        return _large_tensor(spec, value, batched=batched)
    text = bytes(value).strip() if isinstance(value, msgspec.Raw) else b""
    if not text or spec.datatype == "BYTES" or b'"' in text or b"{" in text:  # commas may stand inside an element
        parsed = _value_of(value)
        data = flatten(parsed if isinstance(parsed, list) else [parsed])
        count = len(data)
    else:
        text = text if text.startswith(b"[") else b"[%b]" % text
        count = text.count(b",") + 1 if text.strip(b"[] \t\r\n") else 0
        data = msgspec.Raw(text)
    return decode_tensor(spec.name, spec.datatype, _shape(spec, count, batched=batched), data)


def _large_tensor(spec: TensorSpec, value: msgspec.Raw, *, batched: bool) -> Tensor:
    """Return the tensor of a large value, without a Python object per element."""
    text = memoryview(value)
    count = -1 if spec.datatype == "BYTES" else count_numbers(text)
    if count >= 0:
        data = value if starts_with(text, b"[") else msgspec.Raw(b"[%b]" % bytes(text))
        return decode_tensor(spec.name, spec.datatype, _shape(spec, count, batched=batched), data)
    found = wire_form(text) if spec.datatype == "BYTES" else None
    if found is None:
        parsed = parse(text)
        values = flatten(parsed if isinstance(parsed, list) else [parsed])
        return decode_tensor(spec.name, spec.datatype, _shape(spec, len(values), batched=batched), values)
    raw, count = found
    return CountedTensor(spec.name, _shape(spec, count, batched=batched), memoryview(raw).toreadonly(), count)


def _shape(spec: TensorSpec, count: int, *, batched: bool) -> tuple[int, ...]:
    shape = deduce_shape(spec.dims, count, batched=batched)
    if prod(shape) != count:
        raise invalid(f"The schema can not convert input '{spec.name}' to tensor with proper shape")
    return shape


def deduce_shape(dims: tuple[int, ...], count: int, *, batched: bool) -> tuple[int, ...]:
    """Return the shape of `count` elements: their number decides the last variable dimension, and any other variable
    dimension is 1. The batch dimension counts as variable."""
    shape = [-1, *dims] if batched else list(dims)
    fixed = prod(size for size in shape if size != -1)
    variable = count // fixed if fixed else 0
    for axis in range(len(shape) - 1, -1, -1):
        if shape[axis] == -1:
            shape[axis], variable = variable, 1
    if batched and shape[0] == 0:  # without elements there is one empty row, not zero rows
        shape[0] = 1
    return tuple(shape)


def _value(tensor: Tensor) -> Any:
    data = json_data(tensor)
    if data is None or tensor.element_count != 1:
        return data
    if isinstance(data, orjson.Fragment):
        value = float(tensor.array.reshape(-1)[0])
        return orjson.Fragment(str(value).replace("inf", "Infinity").replace("nan", "NaN"))
    return data[0].item() if isinstance(data, np.ndarray) else data[0]
