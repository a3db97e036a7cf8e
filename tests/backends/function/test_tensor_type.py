"""`TensorType`: which types and shapes can be declared, and how names are found."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Annotated, TypedDict

import ml_dtypes
import numpy as np
import pytest
from tritonclient.grpc import model_config_pb2

from slipway.backends.function.tensor_type import (
    TensorType,
    annotated_inputs,
    annotated_outputs,
    named,
    output_names,
)
from slipway.errors import Code, SlipwayError

Vector = Annotated[np.ndarray, TensorType(np.float32, -1)]
Text = Annotated[np.ndarray, TensorType(str)]


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (np.float32, "FP32"),
        (np.dtype("int8"), "INT8"),
        ("FP16", "FP16"),
        ("TYPE_UINT8", "UINT8"),
        ("float64", "FP64"),
        ("BF16", "BF16"),
        (ml_dtypes.bfloat16, "BF16"),
        (bool, "BOOL"),
        (int, "INT64"),
        (float, "FP64"),
        (str, "BYTES"),
        ("str", "BYTES"),
        (bytes, "BYTES"),
        (object, "BYTES"),
        ("BYTES", "BYTES"),
    ],
)
def test_types_of_numpy_python_and_the_protocol_name_a_datatype(dtype, name):
    assert TensorType(dtype).datatype.name == name


def test_only_str_is_text():
    assert [TensorType(each).is_text for each in (str, "str", np.str_, bytes, object, "BYTES", np.int8)] == [
        True, True, True, False, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("dtype", "text"),
    [
        ("FP23", "'FP23' is not a tensor's type; did you mean 'FP32'?"),
        (np.complex64, "the protocol cannot carry numpy type 'complex64'"),
        ("datetime64[s]", "the protocol cannot carry numpy type 'datetime64[s]'"),
    ],
)
def test_a_type_that_the_protocol_lacks_is_refused(dtype, text):
    with pytest.raises(SlipwayError) as caught:
        TensorType(dtype)
    assert caught.value.code is Code.INVALID_ARG
    assert text in caught.value.message


@pytest.mark.parametrize(("shape", "dims"), [((), ()), (3, (3,)), (-1, (-1,)), ([2, np.int64(4)], (2, 4))])
def test_a_shape_is_a_size_or_a_sequence_of_sizes(shape, dims):
    assert TensorType(np.int8, shape).dims == dims


@pytest.mark.parametrize("shape", [0, (-2,), (1.5,), "12", (True,), None])
def test_a_shape_that_is_not_one_is_refused(shape):
    with pytest.raises(SlipwayError, match="shape"):
        TensorType(np.int8, shape)


def test_one_value_per_row_is_declared_as_one_element_for_clients_and_none_for_the_function():
    message = model_config_pb2.ModelInput()
    TensorType(str, name="text", optional=True).declare(message)
    assert (message.name, list(message.dims), list(message.reshape.shape)) == ("text", [1], [])
    assert message.HasField("reshape")
    assert message.optional


def test_unnamed_inputs_take_the_names_of_the_parameters_in_order():
    tensors = named([TensorType(int), TensorType(int, name="own"), TensorType(int)], ("a", "b", "c"), "input")
    assert [tensor.name for tensor in tensors] == ["a", "own", "c"]


def test_a_mapping_names_the_tensors():
    assert [each.name for each in named({"a": TensorType(int), "b": TensorType(int)}, (), "input")] == ["a", "b"]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([TensorType(int)], "input 1 has no name"),
        ([TensorType(int, name="a"), TensorType(int, name="a")], "input 'a' is declared twice"),
        ([np.int64], "is declared by a slipway.TensorType"),
    ],
)
def test_inputs_without_a_name_of_their_own_are_refused(given, text):
    with pytest.raises(SlipwayError, match=text):
        named(given, (), "input")


def test_outputs_have_names_without_being_given_one():
    assert output_names(1) == ("output",)
    assert output_names(2) == ("output_1", "output_2")


def test_annotations_declare_inputs_and_those_with_a_default_are_optional():
    def function(x: Vector, text: Text = None): ...

    x, text = annotated_inputs(function, {"x": False, "text": True})
    assert (x.name, x.datatype.name, x.dims, x.optional) == ("x", "FP32", (-1,), False)
    assert (text.name, text.is_text, text.optional) == ("text", True, True)


class _Answer(TypedDict):
    label: Text
    scores: Vector


def _one() -> Vector: ...
def _pair() -> tuple[Text, Vector]: ...
def _named() -> _Answer: ...
def _stream() -> Iterator[Text]: ...
async def _async_stream() -> AsyncIterator[_Answer]: ...


@pytest.mark.parametrize(
    ("function", "stream", "names"),
    [
        (_one, False, [""]),
        (_pair, False, ["", ""]),
        (_named, False, ["label", "scores"]),
        (_stream, True, [""]),
        (_async_stream, True, ["label", "scores"]),
    ],
)
def test_return_annotations_declare_outputs(function, stream, names):
    assert [tensor.name for tensor in annotated_outputs(function, stream=stream)] == names


def test_a_function_without_annotations_needs_declarations():
    def function(x):
        return x

    with pytest.raises(SlipwayError, match=r"parameter 'x' is not annotated .* set inputs="):
        annotated_inputs(function, {"x": False})
    with pytest.raises(SlipwayError, match=r"set outputs="):
        annotated_outputs(function, stream=False)
