"""Batch inputs have the values and shapes of Triton's model_config.proto."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.core.ragged import KINDS, BatchInput, RaggedBatch, scattered_shape
from slipway.errors import Code, SlipwayError

SHAPES = [(2, 3, 1), (1, 2, 2)]  # the example of BATCH_ITEM_SHAPE in model_config.proto
VALUES = {
    "BATCH_ELEMENT_COUNT": [6, 4],
    "BATCH_ACCUMULATED_ELEMENT_COUNT": [6, 10],
    "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO": [0, 6, 10],
    "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE": [0, 0, 0, 0, 0, 0],
    "BATCH_ITEM_SHAPE": [[3, 1], [3, 1], [2, 2]],
    "BATCH_ITEM_SHAPE_FLATTEN": [3, 1, 3, 1, 2, 2],
}
DTYPES = {"INT32": np.int32, "FP32": np.float32}
shapes = st.integers(1, 3).flatmap(
    lambda rank: st.lists(st.tuples(*[st.integers(0, 5)] * rank), min_size=1, max_size=6)
)


def value(kind, of, datatype="INT32"):
    return BatchInput(kind, ("t",), datatype, "x").value(of)


def test_every_kind_of_the_protocol_is_known():
    assert VALUES.keys() == KINDS.keys()


@pytest.mark.parametrize("datatype", DTYPES)
@pytest.mark.parametrize("kind", VALUES)
def test_a_kind_has_its_values(kind, datatype):
    array = value(kind, SHAPES, datatype)
    assert array.dtype == DTYPES[datatype]
    assert array.tolist() == VALUES[kind]


@given(shapes)
def test_the_bounds_divide_the_elements_as_their_counts_say(of):
    bounds = value("BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO", of)
    assert np.array_equal(np.diff(bounds), value("BATCH_ELEMENT_COUNT", of))
    assert np.array_equal(bounds[1:], value("BATCH_ACCUMULATED_ELEMENT_COUNT", of))
    assert len(value("BATCH_MAX_ELEMENT_COUNT_AS_SHAPE", of)) == np.diff(bounds).max()


@given(shapes)
def test_every_row_of_the_batch_has_its_shape(of):
    rows = value("BATCH_ITEM_SHAPE", of)
    assert rows.shape == (sum(shape[0] for shape in of), len(of[0]) - 1)
    assert np.array_equal(value("BATCH_ITEM_SHAPE_FLATTEN", of), rows.ravel())
    assert sum(np.prod(row) for row in rows) == value("BATCH_ELEMENT_COUNT", of).sum()


def test_a_number_that_the_datatype_would_round_is_an_error():
    assert value("BATCH_ACCUMULATED_ELEMENT_COUNT", [(1, 2**24)], "FP32").tolist() == [2**24]
    with pytest.raises(SlipwayError) as caught:
        value("BATCH_ACCUMULATED_ELEMENT_COUNT", [(1, 2**24), (1, 1)], "FP32")
    assert caught.value.code is Code.UNSUPPORTED
    assert caught.value.message == (
        "batch input 't' is FP32, which cannot represent 16777217, a number that describes input 'x' of the batch"
    )
    with pytest.raises(SlipwayError, match="INT32, which cannot represent 2147483648"):
        value("BATCH_ELEMENT_COUNT", [(2, 2**30)])


def test_a_variable_dim_of_a_scattered_output_is_that_of_the_source():
    assert scattered_shape((-1, 4, -1), (2, 3, 7)) == (2, 4, 7)


def test_only_tensors_that_depend_on_the_batch_make_it_ragged():
    assert not RaggedBatch()
    assert RaggedBatch(frozenset("x"))
    assert RaggedBatch(batch_inputs=(BatchInput("BATCH_ELEMENT_COUNT", ("t",), "INT32", "x"),))
    assert RaggedBatch(scattered={"y": "x"})
