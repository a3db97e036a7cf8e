"""The generate extension's two mappings."""

from __future__ import annotations

import json

import numpy as np
import pytest

from slipway.core.request import InferResponse
from slipway.core.signature import ModelSignature, TensorSpec
from slipway.core.tensor import Tensor
from slipway.errors import SlipwayError
from slipway.wire.generate import decode_generate, deduce_shape, encode_generate

SPECS = (
    TensorSpec("text", "BYTES", (1,)),
    TensorSpec("n", "INT32", (-1,), optional=True),
    TensorSpec("f", "FP32", (-1,), optional=True),
    TensorSpec("flag", "BOOL", (1,), optional=True),
    TensorSpec("half", "FP16", (1,), optional=True),
    TensorSpec("couple", "FP32", (2,), optional=True),
)
MODEL = ModelSignature("m", 4, {spec.name: spec for spec in SPECS}, {})


def decode(value):
    return decode_generate(value if isinstance(value, bytes) else json.dumps(value).encode(), "", MODEL)


def test_members_named_like_inputs_are_tensors_and_others_parameters():
    request = decode(
        {"text": "hi", "n": [1, 2, 3], "f": 1.5, "flag": True, "id": "r1", "x": 1, "parameters": {"y": "z"}}
    )
    assert {name: tensor.array.tolist() for name, tensor in request.inputs.items()} == {
        "text": [[b"hi"]],
        "n": [[1, 2, 3]],
        "f": [[1.5]],
        "flag": [[True]],
    }
    assert request.id == "r1"
    assert request.parameters == {"id": "r1", "x": 1, "y": "z"}


def test_inputs_may_stand_in_the_nested_parameters():
    assert decode({"text": "hi", "parameters": {"n": [7]}}).inputs["n"].array.tolist() == [[7]]


@pytest.mark.parametrize(
    ("dims", "count", "batched", "shape"),
    [
        ((1,), 1, True, (1, 1)),
        ((1,), 2, True, (2, 1)),
        ((-1,), 3, True, (1, 3)),
        ((-1,), 0, True, (1, 0)),
        ((-1, -1), 2, False, (1, 2)),
        ((-1, 2), 4, False, (2, 2)),
        ((2,), 2, False, (2,)),
    ],
)
def test_the_last_variable_dimension_takes_the_elements(dims, count, batched, shape):
    assert deduce_shape(dims, count, batched=batched) == shape


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"", "failed to parse the request JSON buffer: The document is empty."),
        (b"{", "failed to parse the request JSON buffer: "),
        (b"[]", "attempt to get members for non-object"),
        (b'{"a":' + b"[" * 100_000, "JSON nesting depth exceeds maximum allowed limit (100)"),
        (
            {"parameters": 5},
            "Expected JSON object for keyword: 'parameters': attempt to access JSON non-object as object",
        ),
        (
            {"parameters": {"nested": {"a": 1}}},
            (
                "Converting keyword: 'parameters': parameter 'nested' has invalid type. "
                "It should be either 'int', 'bool', or 'string'."
            ),
        ),
        ({"q": [1]}, "parameter 'q' has invalid type. It should be either 'int', 'bool', or 'string'."),
        ({"id": 5}, "Unable to parse 'id': attempt to access JSON non-string as string"),
        ({"text": 5}, "Unable to parse JSON bytes array: attempt to access JSON non-string as string"),
        ({"n": "x"}, "Unable to parse 'data': attempt to access JSON non-signed-integer as signed-integer"),
        ({"flag": 5}, "Unable to parse 'data': attempt to access JSON non-boolean as boolean"),
        ({"half": 1.0}, "receiving FP16 data via JSON is not supported."),
        (
            {"text": "a", "parameters": {"text": "b"}},
            "Converting keyword: 'parameters': [request id: <id_unknown>] input 'text' already exists in request",
        ),
    ],
    ids=lambda value: str(value)[:50],
)
def test_what_does_not_fit_is_refused_in_tritons_words(value, message):
    with pytest.raises(SlipwayError) as caught:
        decode(value)
    assert caught.value.message.startswith(message)


def test_an_answer_is_flat_and_single_elements_are_scalars():
    outputs = [
        Tensor.from_array("text", np.array([[b"hi"]], np.object_)),
        Tensor.from_array("many", np.float32([[1, 2.5]])),
        Tensor.from_array("one", np.int64([7])),
        Tensor.from_array("flag", np.array([True])),
        Tensor.from_array("odd", np.float32([np.nan])),
        Tensor.from_array("none", np.zeros((1, 0), np.float32)),
    ]
    text = encode_generate(InferResponse("m", "1", "r1", outputs, {"p": 1}))
    assert text == (
        b'{"id":"r1","model_name":"m","model_version":"1","p":1,'
        b'"text":"hi","many":[1.0,2.5],"one":7,"flag":true,"odd":NaN,"none":[]}'
    )


def refusal(text):
    with pytest.raises(SlipwayError) as caught:
        decode(text)
    return caught.value.message


def test_numbers_that_json_lacks_and_a_byte_order_mark_are_read_as_infer_reads_them():
    request = decode(b'\xef\xbb\xbf{"text": "hi", "f": [NaN, -Infinity, 1], "x": 2}')
    assert np.array_equal(request.inputs["f"].array, [[np.nan, -np.inf, 1]], equal_nan=True)
    assert (request.inputs["text"].array.tolist(), request.parameters) == ([[b"hi"]], {"x": 2})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"n": [1], "n": [2]}', "[request id: <id_unknown>] input 'n' already exists in request"),
        (
            b'{"n": [1], "parameters": {"n": [2]}}',
            "Converting keyword: 'parameters': [request id: <id_unknown>] input 'n' already exists in request",
        ),
        (
            b'{"x": 1, "\\u0078": 2}',
            "failed to parse the request JSON buffer: the key 'x' is given twice in one object",
        ),
        (b'{"couple": [1, 2, 3]}', "The schema can not convert input 'couple' to tensor with proper shape"),
        (b'{"id": null}', "Unable to parse 'id': attempt to access JSON non-string as string"),
        (b'{"id": {}}', "Unable to parse 'id': attempt to access JSON non-string as string"),
        (b"[NaN]", "attempt to get members for non-object"),
    ],
)
def test_what_would_be_ambiguous_is_refused(text, message):
    assert refusal(text) == message
