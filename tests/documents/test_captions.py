"""The five nearest texts of an image are the candidates for its caption, and the classifier picks one or none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.documents.captions import CaptionBlock, candidates, captions, cleaned, request_rows
from slipway.errors import SlipwayError

BOX = st.tuples(*[st.integers(0, 1000)] * 4)


def around(x, y, text, size=10):
    return CaptionBlock(text, (x - size, y - size, x + size, y + size))


def test_the_distance_is_that_of_the_centres():
    blocks = [around(50, 0, "c"), around(0, 20, "a", size=500), around(-30, 0, "b")]
    assert candidates((-10, -10, 10, 10), blocks) == ("a", "b", "c", "", "")


def test_only_five_are_candidates_and_the_earlier_of_equals_comes_first():
    blocks = [
        around(*place) for place in ((9, 0, "far"), (0, 3, "x"), (3, 0, "y"), (0, -3, "z"), (1, 0, "i"), (2, 0, "j"))
    ]
    assert candidates((0, 0, 0, 0), blocks) == ("i", "j", "x", "y", "z")


def test_a_page_without_text_has_empty_candidates():
    assert candidates((0, 0, 1, 1), []) == ("",) * 5


@given(BOX, st.lists(BOX, max_size=12))
def test_candidates_are_those_of_a_plain_sort(image, boxes):
    def centre(box):
        return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2

    blocks = [CaptionBlock(str(number), box) for number, box in enumerate(boxes)]
    ordered = sorted(blocks, key=lambda block: math.dist(centre(block.box), centre(image)))
    found = candidates(image, blocks)
    assert len(found) == 5
    distances = [math.dist(centre(boxes[int(text)]), centre(image)) for text in found if text]
    assert distances == [math.dist(centre(block.box), centre(image)) for block in ordered[:5]]


def test_characters_outside_ascii_are_question_marks():
    assert cleaned("Café à 5 €") == "Caf? ? 5 ?"
    assert cleaned("\ud800😀") == "??"
    assert candidates((0, 0, 1, 1), [around(0, 0, "naïve")])[0] == "na?ve"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_boxes_that_are_not_finite_are_refused(value):
    with pytest.raises(SlipwayError, match="finite numbers"):
        candidates((0, 0, 1, 1), [CaptionBlock("a", (0, 0, value, 1))])


def test_25_images_of_five_candidates_are_one_request():
    images = [[f"{image}-{number}" for number in range(5)] for image in range(25)]
    [rows] = request_rows(images)
    assert len(rows) == 125
    assert rows == tuple(text for image in images for text in image)


@pytest.mark.parametrize(("images", "sizes"), [(0, []), (1, [5]), (26, [125, 5]), (60, [125, 125, 50])])
def test_more_images_are_more_requests(images, sizes):
    assert [len(rows) for rows in request_rows([("a",) * 5] * images)] == sizes


def test_an_image_with_another_number_of_candidates_is_refused():
    with pytest.raises(SlipwayError, match="image 1 has 4 caption candidates, expected 5"):
        list(request_rows([("a",) * 5, ("a",) * 4]))


def test_the_most_probable_candidate_is_the_caption_if_above_a_half():
    rows = tuple("abcdefghijklmno")
    scores = np.array([0.1, 0.7, 0.9, 0, 0, 0.5, 0.5, 0, 0, 0, 0.6, 0.1, 0.6, 0, 0], np.float32)
    assert captions(rows, scores) == ("c", "", "k")
    assert captions(rows, scores[:, None]) == ("c", "", "k")
    assert captions((), np.zeros((0, 1), np.float32)) == ()


@pytest.mark.parametrize(
    ("rows", "shape"),
    [(5, (4,)), (5, (5, 2)), (4, (4,)), (10, (2, 5)), (5, ())],
    ids=["few", "wide", "rows", "table", "0"],
)
def test_an_output_that_does_not_fit_is_refused(rows, shape):
    with pytest.raises(SlipwayError, match=f"for {rows} rows"):
        captions(("a",) * rows, np.zeros(shape, np.float32))


def test_an_output_that_is_not_finite_is_refused():
    with pytest.raises(SlipwayError, match="not finite"):
        captions(("a",) * 5, np.array([0, 0, np.nan, 0, 0], np.float32))
