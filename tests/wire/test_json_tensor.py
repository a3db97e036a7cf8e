"""JSON tensor data: values, ranges, shapes and depth."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.datatypes import BY_NAME
from slipway.errors import Code, SlipwayError
from slipway.wire import json_tensor
from slipway.wire.json_tensor import decode_tensor

INTEGERS = ("UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64")
TOO_DEEP = "JSON nesting depth exceeds maximum allowed limit (100)"
MISMATCH = "Unable to parse 'data': Shape does not match true shape of 'data' field"


def decode(datatype, shape, data):
    text = data if isinstance(data, str) else json.dumps(data)
    return decode_tensor("IN0", datatype, tuple(shape), msgspec.Raw(text.encode())).array


def refusal(datatype, shape, data):
    with pytest.raises(SlipwayError) as caught:
        decode(datatype, shape, data)
    return caught.value


@pytest.mark.parametrize("datatype", INTEGERS)
def test_the_ends_of_every_integer_range_are_exact_and_one_beyond_is_refused(datatype):
    limits = np.iinfo(BY_NAME[datatype].numpy)
    assert decode(datatype, [2], [int(limits.min), int(limits.max)]).tolist() == [limits.min, limits.max]
    for beyond in (int(limits.min) - 1, int(limits.max) + 1):
        assert refusal(datatype, [1], [beyond]).code in (Code.INTERNAL, Code.INVALID_ARG)


def test_a_value_that_would_wrap_is_refused_and_named():
    assert refusal("UINT8", [2], [1, 256]).message == (
        "Unable to parse 'data': 256 is out of range for input 'IN0' of data-type UINT8, which ranges from 0 to 255"
    )


@pytest.mark.parametrize(
    ("datatype", "data", "message"),
    [
        ("BOOL", [1, 0], "Unable to parse 'data': attempt to access JSON non-boolean as boolean"),
        ("INT32", [1.0, 2], "Unable to parse 'data': attempt to access JSON non-signed-integer as signed-integer"),
        ("INT32", [True, 2], "Unable to parse 'data': attempt to access JSON non-signed-integer as signed-integer"),
        (
            "UINT32",
            [-1, 2],
            "Unable to parse 'data': attempt to access JSON non-unsigned-integer as unsigned-integer",
        ),
        ("FP32", ["1", 2], "Unable to parse 'data': attempt to access JSON non-number as double"),
        ("FP64", [True, 2], "Unable to parse 'data': attempt to access JSON non-number as double"),
        ("FP64", [None, 2], "Unable to parse 'data': attempt to access JSON non-number as double"),
        ("BYTES", [1, "2"], "Unable to parse JSON bytes array: attempt to access JSON non-string as string"),
        ("FP32", 5, "Unable to parse 'data': attempt to access JSON non-array as array"),
        ("FP32", "null", "Unable to parse 'data': attempt to access JSON non-array as array"),
        ("FP32", [1], MISMATCH),
        ("FP32", [1, 2, 3], MISMATCH),
        ("FP32", [[1, 2], [3]], MISMATCH),
        ("BYTES", ["a"], MISMATCH),
        ("BOOL", [True], MISMATCH),
    ],
)
def test_data_that_does_not_fit_is_refused_in_tritons_words(datatype, data, message):
    assert refusal(datatype, [2], data).message == message


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_floats_need_the_binary_form(datatype):
    assert refusal(datatype, [1], [1.0]).message == (
        f"receiving {datatype} data via JSON is not supported. Please use the binary data format for input IN0"
    )


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([2**4, 2**60 + 2], "causes total element count to exceed maximum size of"),
        ([2**2, 2**60 + 2], "byte size overflow for input"),
        ([1] * 10_000, "10000 dimensions"),
    ],
)
def test_shapes_beyond_all_bounds_are_refused(shape, message):
    error = refusal("FP32", shape, [1])
    assert error.code is Code.INVALID_ARG
    assert message in error.message


@pytest.mark.parametrize(("datatype", "leaf"), [("INT64", "1"), ("FP32", "1.5"), ("BYTES", '"a"')])
def test_nesting_is_limited_to_a_hundred_levels(datatype, leaf):
    assert decode(datatype, [1], "[" * 50 + leaf + "]" * 50).size == 1
    assert refusal(datatype, [1], "[" * 120 + leaf + "]" * 120).message == TOO_DEEP


def test_many_shallow_lists_are_not_deep():
    assert decode("INT64", [1000, 1], [[number] for number in range(1000)]).sum() == 499_500


def test_large_data_is_read_in_pieces(monkeypatch):
    monkeypatch.setattr(json_tensor, "_PIECE", 10)
    values = list(range(-500, 500))
    assert decode("INT32", [1000], values).tolist() == values
    assert decode("FP32", [100, 10], np.reshape(values, (100, 10)).tolist()).ravel().tolist() == values


def test_an_empty_tensor_has_empty_data():
    assert decode("FP32", [0, 4], []).shape == (0, 4)
    assert decode("BYTES", [0], []).shape == (0,)
    assert decode("FP32", [0], [[], []]).shape == (0,)


def test_a_scalar_shape_holds_one_element():
    assert decode("FP32", [], [7]).shape == ()


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_every_float_survives(values):
    assert decode("FP32", [len(values)], values).tolist() == values


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",)))))
def test_every_string_survives(values):
    assert [element.decode() for element in decode("BYTES", [len(values)], values)] == values
