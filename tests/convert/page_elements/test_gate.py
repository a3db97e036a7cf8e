"""The gate of a detector sees wrong probabilities and boxes, which the direction of its rows would hide."""

from __future__ import annotations

import numpy as np
import pytest

from slipway.convert.candidates.gate import Expectation
from slipway.convert.candidates.subject import Case
from slipway.convert.page_elements.contract import PageDetector, grid
from slipway.convert.page_elements.gate import element_problems

DETECTOR = PageDetector("input", "output", ("table", "chart", "title"), batched=True)


@pytest.fixture
def rows():
    """The output for one page: a box of 200 pixels at every cell, every hundredth of them an element."""
    cells, strides = grid()
    rows = np.zeros((1, len(cells), 8), np.float32)
    rows[0, :, :2], rows[0, :, 2:4] = (cells + 0.5) * strides[:, None], 200
    rows[0, :, 4:6] = 0.01
    rows[0, ::100, 4:6] = 0.9
    return rows


def problems(right, found, precision="bf16"):
    case = Case("a page", {"input": np.zeros((1, 1))}, ({"input": np.zeros((1, 1))},))
    expected = [Expectation(case, ({"output": right[0]},))]
    return list(element_problems(lambda _: {"output": found}, expected, precision, DETECTOR))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_the_same_output_has_no_problem(rows, precision):
    assert problems(rows, rows.copy(), precision) == []


def test_a_wrong_probability_is_found(rows):
    found = rows.copy()
    found[0, 700, 4] = 0.5
    (problem,) = problems(rows, found)
    assert problem == "the probability of an element differs by 0.36 (allowed: 0.1)"


def test_probabilities_that_are_not_numbers_are_found(rows):
    found = rows.copy()
    found[0, 5, 6] = np.nan
    assert "differs by nan" in problems(rows, found)[0]


def test_a_box_beside_the_right_one_is_found_if_it_is_an_elements(rows):
    found = rows.copy()
    found[0, 701, 0] += 150
    assert problems(rows, found) == []
    found[0, 700, 0] += 150
    (problem,) = problems(rows, found)
    assert "0.143 at least (required: 0.95 and 0.7)" in problem


def test_full_precision_is_held_to_less_than_a_pixel(rows):
    found = rows.copy()
    found[0, :, 0] += 2
    assert problems(rows, found) == []
    assert "its boxes overlap" in problems(rows, found, "fp32")[0]


def test_boxes_are_compared_after_decoding(rows):
    right = rows.copy()
    right[0, :, :2], right[0, :, 2:4] = 0.5, 1.0
    found = right.copy()
    found[0, :, 2:4] = 2.0  # e times as large
    undecoded = PageDetector("input", "output", DETECTOR.labels, batched=True, decoded=False)
    case = Case("a page", {"input": np.zeros((1, 1))}, ({"input": np.zeros((1, 1))},))
    expected = [Expectation(case, ({"output": right[0]},))]
    (problem,) = element_problems(lambda _: {"output": found}, expected, "bf16", undecoded)
    assert "0.135 at least" in problem
