"""The distance of two arrays: one definition of difference, cosine, shape and NaN for every gate."""

from __future__ import annotations

import numpy as np
import pytest

from slipway.convert.comparison import ShapeError, cosine, cosines, cut, distance

NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    ("found", "expected", "absolute", "relative"),
    [
        ([1.0, 2.0], [1.0, 2.5], 0.5, 0.2),
        ([0.1, 0.2], [0.1, 0.3], 0.1, 0.1),  # absolute for small outputs
        ([-1e4], [-1e4 - 1], 1.0, 1 / 10001),
        ([1.0, NAN, INF, -INF], [1.0, NAN, INF, -INF], 0.0, 0.0),
        ([1.0, NAN], [1.0, 2.0], INF, INF),
        ([1.0, 2.0], [1.0, NAN], INF, INF),
        ([INF], [-INF], INF, INF),
        ([INF, 1.0], [NAN, 1.0], INF, INF),
        ([], [], 0.0, 0.0),
    ],
)
def test_a_difference_is_absolute_and_relative_to_large_outputs(found, expected, absolute, relative):
    apart = distance(np.array(found, np.float32), np.array(expected, np.float64))
    assert apart.absolute == pytest.approx(absolute, rel=1e-6)
    assert apart.relative == pytest.approx(relative, rel=1e-6)


def test_arrays_of_different_shapes_are_infinitely_far_apart_and_have_no_cosine():
    assert distance(np.ones((1, 2)), np.ones((2, 1))).absolute == INF
    assert np.isnan(cosine(np.ones((1, 2)), np.ones((2, 1))))


def test_scalars_are_compared_too():
    assert distance(np.array(1.0), np.array(NAN)).absolute == INF
    assert distance(np.array(1), np.array(3)).absolute == 2


@pytest.mark.parametrize(
    ("found", "expected", "value"),
    [
        ([1.0, 0.0], [2.0, 0.0], 1.0),
        ([1.0, 0.0], [0.0, 1.0], 0.0),
        ([1.0, 0.0], [-1.0, 0.0], -1.0),
        ([0.0, 0.0], [0.0, 0.0], 1.0),  # no direction, but equal
        ([0.0, 0.0], [1.0, 0.0], 0.0),
        ([1.0, -INF], [2.0, -INF], 1.0),  # a masked score
    ],
)
def test_a_cosine_is_of_vectors_along_the_last_axis(found, expected, value):
    both = cosines(np.array([found, [3.0, 4.0]]), np.array([expected, [3.0, 4.0]]))
    assert both.tolist() == pytest.approx([value, 1.0])


@pytest.mark.parametrize(("found", "expected"), [([NAN, 1.0], [1.0, 1.0]), ([1.0, 1.0], [NAN, 1.0]), ([INF], [1.0])])
def test_a_non_finite_value_on_one_side_fails_every_criterion(found, expected):
    assert not cosine(np.array(found), np.array(expected)) >= -1


def test_padding_is_cut_off_and_an_output_that_is_too_small_is_named():
    padded = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(cut("y", padded, np.zeros((2, 3))), [[0, 1, 2], [4, 5, 6]])
    with pytest.raises(ShapeError, match=r"output 'y' has shape \[3, 4\], the reference has \[3, 5\]"):
        cut("y", padded, np.zeros((3, 5)))
    with pytest.raises(ShapeError, match=r"the reference has \[2\]"):
        cut("y", padded, np.zeros(2))
