"""Top classes of a tensor; every expected text was printed by the reference server unless a comment says otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from slipway.core.tensor import Tensor
from slipway.errors import SlipwayError
from slipway.wire.classification import classify


def top(values, classes, *, batched=False, labels=()):
    result = classify(Tensor.from_array("OUT0", np.asarray(values)), classes, labels, batched=batched)
    return result.shape, [element.decode() for element in result.array.ravel()]


@pytest.mark.parametrize("dtype", ["i4", "u1", "i8", "u8"])
def test_integers_are_printed_whole_and_ties_keep_their_order(dtype):
    assert top(np.array([1, 4, 4, 3], dtype), 3) == ((3,), ["4:1", "4:2", "3:3"])


def test_floats_are_printed_with_six_decimals():
    assert top(np.array([1e22, -1.5, 0.1234567, 1e-9]), 3)[1] == [
        "10000000000000000000000.000000:0",
        "0.123457:2",
        "0.000000:3",
    ]


def test_not_a_number_comes_last():  # the reference server sorts NaN unpredictably
    assert top(np.float32([1, np.nan, 2, np.inf, -np.inf]), 5)[1] == [
        "inf:3",
        "2.000000:2",
        "1.000000:0",
        "-inf:4",
        "nan:1",
    ]


def test_a_batch_is_classified_row_by_row():
    assert top(np.float32([[1, 3, 2], [9, 8, 7]]), 1, batched=True) == ((2, 1), ["3.000000:1", "9.000000:0"])


def test_without_a_batch_all_elements_are_one_row():
    assert top(np.int64([[1, 3, 2], [9, 8, 7]]), 2) == ((2,), ["9:3", "8:4"])


@pytest.mark.parametrize("classes", [4, 2**31, 2**64 - 1])
def test_no_more_classes_than_elements_are_given(classes):
    assert top(np.int32([1, 2]), classes) == ((2,), ["2:1", "1:0"])


def test_a_row_without_elements_has_no_classes():  # the reference server crashes
    assert top(np.zeros((1, 0), np.float32), 3, batched=True) == ((1, 0), [])
    assert top(np.zeros((0, 3), np.float32), 3, batched=True) == ((0, 3), [])


@pytest.mark.parametrize("values", [np.array([True]), np.float16([1]), np.array([b"a"], np.object_)])
def test_other_datatypes_are_refused(values):
    with pytest.raises(SlipwayError, match="class result not available for output due to unsupported type"):
        top(values, 1)


def test_more_than_a_million_elements_are_refused():
    with pytest.raises(SlipwayError, match="more than 1000000"):
        top(np.zeros(1_000_001, np.int8), 1)


def test_a_class_with_an_empty_label_has_no_colon_behind_it():
    tensor = Tensor.from_array("OUT", np.array([1.0, 3.0, 2.0], np.float32))
    found = classify(tensor, 3, ("cat", "", "bird"), batched=False)
    assert found.array.tolist() == [b"3.000000:1", b"2.000000:2:bird", b"1.000000:0:cat"]
