"""A page as ECLAIR read it has plain texts, LaTeX tables and cropped pictures, with boxes on the page."""

from __future__ import annotations

import numpy as np
import pytest

from slipway.documents.canvas import canvas_of
from slipway.documents.reading import LEFT_OUT, TEXTS, TextBlock, output_texts, read_page
from slipway.errors import SlipwayError

CANVAS = canvas_of(np.full((640, 512, 3), 7, np.uint8))  # margins of 256 and 320
BOX = "<x_256><y_320>{}<x_512><y_640><class_{}>"


def read(*elements):
    return read_page("\n".join(BOX.format(text, kind) for text, kind in elements), CANVAS)


def test_texts_are_plain_and_keep_their_class_and_order():
    page = read(("## One", "Section-header"), ("**two**<tbc>", "Text"))
    box = (0, 0, 512, 640)
    assert page.texts == (TextBlock("Section-header", "One", box), TextBlock("Text", "two", box))
    assert page.problems == ()


def test_every_accepted_class_is_a_text():
    page = read(*((kind, kind) for kind in sorted(TEXTS)))
    assert [text.kind for text in page.texts] == sorted(TEXTS)


def test_headers_footers_and_captions_are_left_out_silently():
    page = read(*(("x", kind) for kind in sorted(LEFT_OUT)))
    assert (page.texts, page.tables, page.pictures, page.problems) == ((), (), (), ())


def test_a_text_without_words_is_left_out():
    assert read((" ** ", "Text")).texts == ()


def test_a_table_is_latex():
    page = read((r"\begin{tabular}{l}1\end{tabular}", "Table"))
    assert page.tables == (TextBlock("Table", r"\begin{tabular}{l}1\end{tabular}", (0, 0, 512, 640)),)


def test_a_picture_is_cropped_from_the_canvas():
    [picture] = read(("", "Picture")).pictures
    assert picture.pixels.shape == (320, 256, 3)
    assert (picture.pixels == 7).all()
    assert picture.box == (0, 0, 512, 640)


def test_a_picture_beside_the_canvas_is_reported():
    page = read_page("<x_2000><y_10><x_2100><y_20><class_Picture>", CANVAS)
    assert page.pictures == ()
    assert page.problems == ("picture (2000, 10, 2100, 20): it is empty or beside the canvas",)


def test_an_unknown_class_is_reported_with_the_nearest_one():
    page = read(("a", "List-items"), ("b", "Text"), ("c", "?"))
    assert [text.text for text in page.texts] == ["b"]
    assert "class 'List-items' is unknown: did you mean 'List-item'?" in page.problems[0]
    assert "class '?' is unknown: known classes are Bibliography, Caption" in page.problems[1]


def test_an_output_that_was_cut_off_keeps_what_is_whole():
    page = read_page(BOX.format("whole", "Text") + "<x_256><y_320>cut", CANVAS)
    assert [text.text for text in page.texts] == ["whole"]
    assert page.problems == ("character 45: the last element has no end: 'cut'",)


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_the_models_output_is_a_text_per_page(shape):
    output = np.array(["é".encode(), b"cut \xc3"], np.object_).reshape(shape)
    assert output_texts(output, 2) == ["é", "cut \ufffd"]
    assert output_texts(np.array(["a", "b"]).reshape(shape), 2) == ["a", "b"]


def test_an_output_that_does_not_fit_the_pages_is_refused():
    with pytest.raises(SlipwayError, match=r"its shape is \[2\] for 3 pages"):
        output_texts(np.array([b"", b""], np.object_), 3)
    with pytest.raises(SlipwayError, match="a value of type float, expected bytes"):
        output_texts(np.array([1.5]), 1)
