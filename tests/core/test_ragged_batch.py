"""Requests of any shape are laid out flat, described by their shapes, and get their own part of the outputs back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.core.ragged import BatchInput, RaggedBatch
from slipway.core.ragged_batch import split_ragged, stack_ragged
from slipway.core.request import InferRequest
from slipway.core.signature import ModelSignature, TensorSpec
from slipway.core.tensor import Tensor
from slipway.errors import SlipwayError

COUNTS = BatchInput("BATCH_ELEMENT_COUNT", ("counts", "sizes"), "INT32", "x")
SHAPES = BatchInput("BATCH_ITEM_SHAPE", ("shapes",), "FP32", "x")


def signature(size=8, dims=(-1, -1), reshape=None, *, inputs=(), out=(-1, -1), out_reshape=None):
    """Return the signature of a model with a ragged input x, an output y that is divided by it, and an output z."""
    return ModelSignature(
        "m",
        size,
        {"x": TensorSpec("x", "INT64", dims, reshape, ragged=True), "k": TensorSpec("k", "INT64", (1,))},
        {"y": TensorSpec("y", "INT64", out, out_reshape), "z": TensorSpec("z", "INT64", (1,))},
        ragged=RaggedBatch(frozenset("x"), inputs, {"y": "x"}),
    )


def requests(*arrays):
    return [
        InferRequest("m", inputs={"x": Tensor.from_array("x", array), "k": Tensor.from_array("k", array[:, :1, 0])})
        for array in arrays
    ]


def numbered(*shapes):
    starts = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes)])
    return [
        np.arange(start, start + np.prod(shape)).reshape(shape) for start, shape in zip(starts, shapes, strict=False)
    ]


def test_ragged_inputs_are_flat_and_the_others_are_stacked():
    stacked = stack_ragged(requests(*numbered((2, 1, 3), (1, 2, 1))), signature(inputs=(COUNTS, SHAPES)))
    assert stacked["x"].tolist() == list(range(8))
    assert stacked["k"].tolist() == [[0], [3], [6]]
    assert stacked["counts"].tolist() == stacked["sizes"].tolist() == [6, 2]
    assert stacked["shapes"].tolist() == [[1, 3], [1, 3], [2, 1]]


def test_a_single_request_is_flat_too():
    stacked = stack_ragged(requests(*numbered((1, 2, 2))), signature(inputs=(COUNTS,)))
    assert stacked["x"].shape == (4,)
    assert stacked["counts"].tolist() == [4]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 4)), min_size=1, max_size=5))
def test_each_request_gets_its_own_elements_back(shapes):
    given_arrays = numbered(*shapes)
    batch = requests(*given_arrays)
    stacked = stack_ragged(batch, signature())
    rows = [shape[0] for shape in shapes]
    answers = split_ragged({"y": stacked["x"], "z": stacked["k"]}, rows, signature(), requests=batch)
    for array, (y, z) in zip(given_arrays, answers, strict=True):
        assert (y.name, z.name) == ("y", "z")
        assert np.array_equal(y.array, array)
        assert np.array_equal(z.array, array[:, :1, 0])


def test_shapes_are_those_that_the_model_sees():
    reshaped = signature(dims=(2, -1), reshape=(-1, 1, 2), inputs=(SHAPES,), out=(-1, 1), out_reshape=(-1,))
    batch = requests(*numbered((1, 2, 3), (1, 2, 1)))
    stacked = stack_ragged(batch, reshaped)
    assert stacked["shapes"].tolist() == [[3, 1, 2], [1, 1, 2]]
    first, second = split_ragged({"y": np.arange(4)}, [1, 1], reshaped, requests=batch)
    assert first[0].array.tolist() == [[[0], [1], [2]]]
    assert second[0].array.tolist() == [[[3]]]


def test_without_a_batch_dimension_the_first_axis_counts_as_rows():
    single = signature(0, inputs=(COUNTS, SHAPES))
    batch = requests(*numbered((2, 3, 1)))
    stacked = stack_ragged(
        [InferRequest("m", inputs={"x": Tensor.from_array("x", np.arange(6).reshape(2, 3))})], single
    )
    assert stacked["x"].shape == (6,)
    assert stacked["shapes"].tolist() == [[3], [3]]
    (tensors,) = split_ragged({"z": np.array([1])}, [1], single, requests=batch)
    assert tensors[0].array.tolist() == [1]


@pytest.mark.parametrize("size", [3, 5])
def test_an_output_that_does_not_fit_the_requests_is_an_error(size):
    message = f"output 'y' of model 'm' has {size} elements for a batch that needs 4, by the shapes of input 'x'"
    with pytest.raises(SlipwayError, match=message):
        split_ragged({"y": np.zeros(size)}, [1, 1], signature(), requests=requests(*numbered((1, 1, 3), (1, 1, 1))))
