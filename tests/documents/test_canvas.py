"""A page lies in the middle of white paper, and boxes find the way back to it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.documents.canvas import Canvas, canvas_batches, canvas_of, centred
from slipway.errors import Code, SlipwayError


def test_a_small_image_lies_in_the_middle():
    canvas = centred(np.zeros((50, 50, 3), np.uint8), 100, 100)
    assert (canvas.left, canvas.above) == (25, 25)
    assert (canvas.pixels[25:75, 25:75] == 0).all()
    assert canvas.pixels.sum() == 255 * 3 * (100 * 100 - 50 * 50)


def test_an_odd_margin_is_rounded_down():
    canvas = centred(np.zeros((1, 2), np.uint8), 4, 5)
    assert (canvas.left, canvas.above) == (1, 1)


def test_an_image_of_the_canvas_size_has_no_margin():
    canvas = centred(np.full((1280, 1024, 3), 9, np.uint8))
    assert (canvas.left, canvas.above) == (0, 0)
    assert (canvas.pixels == 9).all()


@pytest.mark.parametrize("shape", [(1281, 1024), (1280, 1025), (5000, 5000)])
def test_an_image_that_is_larger_than_the_canvas_is_refused(shape):
    with pytest.raises(SlipwayError, match="Image array is too large") as caught:
        centred(np.zeros(shape, np.uint8))
    assert caught.value.code is Code.INVALID_ARG


@pytest.mark.parametrize(
    ("shape", "margins"),
    [((3300, 2550), (17, 0)), ((2550, 3300), (0, 244)), ((1, 1), (511, 639)), ((1, 5000), (0, 639))],
)
def test_any_page_fits_and_touches_two_edges_if_it_was_larger(shape, margins):
    canvas = canvas_of(np.zeros(shape, np.uint8))
    assert canvas.pixels.shape == (1280, 1024, 3)
    assert (canvas.left, canvas.above) == margins


def test_the_corners_of_the_page_are_those_of_the_canvas():
    canvas = canvas_of(np.zeros((640, 512), np.uint8))
    assert (canvas.left, canvas.above) == (256, 320)
    assert canvas.to_page((256, 320, 768, 960)) == (0, 0, 1024, 1280)
    assert canvas.to_page((257, 323, 512, 640)) == (2, 6, 512, 640)


@given(st.integers(1, 1024), st.integers(1, 1280), st.integers(0, 1024), st.integers(0, 1280))
def test_points_of_the_page_follow_the_formula(width, height, x, y):
    left, above = (1024 - width) // 2, (1280 - height) // 2
    canvas = Canvas(np.broadcast_to(np.uint8(255), (1280, 1024, 3)), left, above)
    x1, y1, x2, y2 = canvas.to_page((x, y, x, y))
    assert (x1, y1) == (x2, y2)
    exact = (x - left) / ((1024 - 2 * left) / 1024), (y - above) / ((1280 - 2 * above) / 1280)
    assert (x1, y1) == (int(min(max(exact[0], 0), 1024)), int(min(max(exact[1], 0), 1280)))


def test_a_box_is_cropped_in_whole_pixels_and_within_the_canvas():
    canvas = centred(np.arange(100, dtype=np.uint8).reshape(10, 10), 10, 10)
    assert canvas.crop((1.5, 2.5, 3.5, 4)).shape == (2, 3, 3)
    assert canvas.crop((1.5, 2.5, 3.5, 4))[0, 0, 0] == 21
    assert canvas.crop((-5, -5, 50, 50)).shape == (10, 10, 3)
    assert canvas.crop((3, 3, 3, 5)) is None
    assert canvas.crop((20, 0, 30, 5)) is None


@pytest.mark.parametrize(("count", "most", "sizes"), [(0, 16, []), (16, 16, [16]), (5, 2, [2, 2, 1])])
def test_batches_hold_at_most_the_batch_size_in_order(count, most, sizes):
    canvases = [Canvas(np.broadcast_to(np.uint8(number), (1280, 1024, 3)), 0, 0) for number in range(count)]
    batches = list(canvas_batches(canvases, most))
    assert [batch.shape for batch in batches] == [(size, 1280, 1024, 3) for size in sizes]
    assert all(batch.dtype == np.uint8 for batch in batches)
    assert [int(pixels[0, 0, 0]) for batch in batches for pixels in batch] == list(range(count))


def test_a_batch_needs_canvases_of_the_models_size():
    with pytest.raises(SlipwayError, match=r"page 0: its canvas has the shape \[9, 9, 3\], expected \[1280, 1024, 3\]"):
        list(canvas_batches([centred(np.zeros((1, 1), np.uint8), 9, 9)], 16))
    with pytest.raises(SlipwayError, match="at most 0 pages"):
        list(canvas_batches([], 0))
