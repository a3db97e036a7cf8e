"""Inputs as a caller writes them: arrays, numbers, texts and lists become the tensors that a model declares."""

from __future__ import annotations

import numpy as np
import pytest

from slipway.client.inputs import needs_declaration, tensors_of, text_input
from slipway.client.messages import ModelInfo, TensorInfo
from slipway.errors import SlipwayError

MODEL = ModelInfo(
    "m",
    inputs=(
        TensorInfo("ids", "INT64", (-1, -1)),
        TensorInfo("text", "BYTES", (-1, 1)),
        TensorInfo("scale", "FP32", (1,)),
        TensorInfo("half", "BF16", (-1,)),
    ),
)


def tensor(name, value):
    return tensors_of({name: value}, MODEL)[name]


def test_only_what_is_not_an_array_needs_the_models_metadata():
    assert not needs_declaration({"x": np.zeros(1)})
    assert needs_declaration({"x": np.zeros(1), "y": [1]})
    assert tensors_of({"x": np.zeros(1)}, None)["x"].datatype == "FP64"


@pytest.mark.parametrize(
    ("name", "value", "datatype", "shape"),
    [
        ("ids", [[1, 2], [3, 4]], "INT64", (2, 2)),
        ("ids", [1, 2, 3], "INT64", (1, 3)),
        ("text", ["a", "b"], "BYTES", (2, 1)),
        ("text", "a", "BYTES", (1, 1)),
        ("text", [["a"], ["b"]], "BYTES", (2, 1)),
        ("scale", 2, "FP32", (1,)),
        ("scale", [2], "FP32", (1,)),
        ("half", [1.5], "BF16", (1,)),
    ],
)
def test_values_get_the_datatype_and_the_missing_dimensions_of_the_declaration(name, value, datatype, shape):
    found = tensor(name, value)
    assert (found.datatype, found.shape) == (datatype, shape)


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({"idz": [1]}, "model 'm' has no input 'idz'; did you mean 'ids'?"),
        ({"ids": ["a"]}, "input 'ids' does not contain INT64 values"),
        ({"text": [1]}, "input 'text' has a int among its strings"),
        ({"text": ["\ud800"]}, "input 'text' has a text with half a character"),
        ({"ids": np.zeros(1, complex)}, "input 'ids' has numpy type 'complex128', which the protocol cannot carry"),
        ([1], "inputs are a mapping from names to arrays, not a list"),
    ],
)
def test_what_is_not_an_input_is_refused(inputs, text):
    with pytest.raises(SlipwayError) as caught:
        tensors_of(inputs, MODEL)
    assert text in caught.value.message


@pytest.mark.parametrize(
    ("shape", "texts", "sent"), [((-1, 1), ["a", "b"], (2, 1)), ((-1,), "a", (1,)), ((1,), "a", (1,))]
)
def test_texts_are_rows_of_the_only_string_input(shape, texts, sent):
    model = ModelInfo("m", inputs=(TensorInfo("t", "BYTES", shape), TensorInfo("n", "INT32", (1,))))
    assert text_input(model, texts)["t"].shape == sent


def test_a_model_with_several_string_inputs_needs_their_names():
    model = ModelInfo("m", inputs=(TensorInfo("a", "BYTES"), TensorInfo("b", "BYTES")))
    with pytest.raises(SlipwayError, match=r"has 2 string inputs \(a BYTES, b BYTES\): name one"):
        text_input(model, "x")
