"""A batch of N equals N single requests: rows are stacked and split, never mixed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.core.batch import apply_reshape, split, stack
from slipway.core.request import InferRequest
from slipway.core.signature import ModelSignature, TensorSpec
from slipway.core.tensor import Tensor
from slipway.errors import SlipwayError

SIGNATURE = ModelSignature(
    "m",
    64,
    {"x": TensorSpec("x", "INT64", (2,))},
    {"y": TensorSpec("y", "INT64", (2,))},
    required_inputs=frozenset("x"),
)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_each_request_gets_its_own_rows_back(sizes):
    arrays = [np.full((rows, 2), index, np.int64) for index, rows in enumerate(sizes)]
    requests = [InferRequest("m", inputs={"x": Tensor.from_array("x", array)}) for array in arrays]
    stacked = stack(requests, SIGNATURE)
    assert stacked["x"].shape == (sum(sizes), 2)
    answers = split({"y": stacked["x"]}, sizes, SIGNATURE)
    for array, (tensor,) in zip(arrays, answers, strict=True):
        assert np.array_equal(tensor.array, array)


def test_an_output_without_the_batchs_rows_is_an_error():
    with pytest.raises(SlipwayError, match=r"output 'y' of model 'm' has shape \[3, 2\] for a batch of 4 rows"):
        split({"y": np.zeros((3, 2))}, [2, 2], SIGNATURE)


def test_the_backend_sees_the_reshaped_tensor_and_the_client_the_declared_one():
    signature = ModelSignature(
        "m",
        8,
        {"x": TensorSpec("x", "FP32", (1,), reshape=())},
        {"y": TensorSpec("y", "FP32", (1,), reshape=())},
    )
    request = InferRequest("m", inputs={"x": Tensor.from_array("x", np.zeros((3, 1), np.float32))})
    stacked = stack([request], signature)
    assert stacked["x"].shape == (3,)
    assert split({"y": stacked["x"]}, [3], signature)[0][0].shape == (3, 1)


def test_reshape_carries_variable_dimensions_in_order():
    assert apply_reshape((5, 7, 3, 9), (-1, 3, -1), (-1, -1, 3), batched=True) == (5, 7, 9, 3)
