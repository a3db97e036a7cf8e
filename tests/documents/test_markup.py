"""ECLAIR's markup becomes elements; what does not follow the format is left out and reported."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.documents.markup import MOST_CHARACTERS, MarkedElement, parse_markup
from slipway.errors import Code, SlipwayError

GROUP = re.compile(r"<x_(\d+)><y_(\d+)>(.*?)<x_(\d+)><y_(\d+)><class_([^>]+)>", re.DOTALL)
ELEMENT = st.builds(
    MarkedElement,
    st.sampled_from(["Text", "Table", "Section-header", "A"]),
    st.tuples(st.integers(0, 500), st.integers(0, 500), st.integers(500, 1024), st.integers(500, 1280)),
    st.text(st.sampled_from("ab <>\n_x1\\$|"), max_size=12),
)


def written(element):
    x1, y1, x2, y2 = element.box
    return f"<x_{x1}><y_{y1}>{element.text}<x_{x2}><y_{y2}><class_{element.kind}>"


def columns(text):
    elements = parse_markup(text).elements
    return (
        [element.kind for element in elements],
        [element.box for element in elements],
        [element.text for element in elements],
    )


def test_one_element():
    assert columns("<x_10><y_20>text1<x_30><y_40><class_A>") == (["A"], [(10, 20, 30, 40)], ["text1"])


def test_two_elements_on_two_lines():
    text = "<x_10><y_20>text1<x_30><y_40><class_A>\n<x_50><y_60>text2<x_70><y_80><class_B>"
    assert columns(text) == (["A", "B"], [(10, 20, 30, 40), (50, 60, 70, 80)], ["text1", "text2"])
    assert parse_markup(text, strict=True).problems == ()


def test_text_without_an_element_has_none():
    assert columns("This is just some text") == ([], [], [])
    assert parse_markup("") == parse_markup(" \n")


def test_a_text_may_have_several_lines_or_none():
    text = "<x_1><y_2>one\n\ntwo<x_3><y_4><class_Text><x_1><y_2><x_3><y_4><class_Picture>"
    assert columns(text)[2] == ["one\n\ntwo", ""]


@given(st.lists(ELEMENT, max_size=6))
def test_well_formed_markup_is_read_as_the_formats_own_expression_reads_it(elements):
    text = "\n".join(map(written, elements))
    markup = parse_markup(text, strict=True)
    assert markup.elements == tuple(elements)
    assert [(element.text, element.kind) for element in markup.elements] == [
        (found[3], found[6]) for found in GROUP.finditer(text)
    ]


@given(st.lists(st.sampled_from(["<x_1><y_2>", "<x_3><y_4><class_A>", "<x_3>", "<class_A>", "word", " "]), max_size=20))
def test_no_mixture_of_tokens_breaks_the_parser(tokens):
    markup = parse_markup("".join(tokens))
    starts, ends = tokens.count("<x_1><y_2>"), tokens.count("<x_3><y_4><class_A>")
    assert len(markup.elements) <= min(starts, ends + tokens.count("<class_A>"))
    assert all(element.kind == "A" for element in markup.elements)


@pytest.mark.parametrize(
    ("text", "texts", "problem"),
    [
        (
            "<x_1><y_1>whole<x_2><y_2><class_Text><x_3><y_3>cut o",
            ["whole"],
            "character 37: the last element has no end: 'cut o'",
        ),
        (
            "<x_1><y_1>lost<x_3><y_3>good<x_4><y_4><class_Text>",
            ["good"],
            "character 0: an element has no end: 'lost'",
        ),
        ("<x_1><y_1><class_Text>", [], "character 0: an element of class 'Text' has no start"),
        (
            "Oh: <x_1><y_1>a<x_2><y_2><class_Text> so",
            ["a"],
            "character 0: text outside elements: 'Oh:'",
        ),
        ("<x_1><y_1>a<x_2><y_2><class_Text>so", ["a"], "character 33: text outside elements: 'so'"),
        (
            "<x_9><y_1>a<x_2><y_2><class_Text>",
            [],
            r"character 0: the corners of box (9, 1, 2, 2) are in the wrong order",
        ),
        ("<x_1><y_1>a<x_2222222><y_2><class_Text>", [], "character 0: the last element has no end"),
    ],
    ids=["cut", "no-end", "no-start", "before", "after", "corners", "long-number"],
)
def test_malformed_parts_are_left_out_and_reported(text, texts, problem):
    markup = parse_markup(text)
    assert [element.text for element in markup.elements] == texts
    assert markup.problems[0].startswith(problem)
    with pytest.raises(SlipwayError, match=re.escape(problem)) as caught:
        parse_markup(text, strict=True)
    assert caught.value.code is Code.INVALID_ARG


def test_an_error_shows_three_problems_and_counts_the_others():
    with pytest.raises(SlipwayError, match=r"character 22: [^;]*; and 3 more$"):
        parse_markup("<x_1><y_1><class_A>///" * 3, strict=True)


def test_a_long_text_of_starts_without_an_end_is_read_once():
    count = MOST_CHARACTERS // 16
    markup = parse_markup("<x_1><y_1>" * count)
    assert markup.elements == ()
    assert len(markup.problems) == count


def test_a_text_over_the_limit_is_refused():
    with pytest.raises(SlipwayError, match=f"it has {MOST_CHARACTERS + 1} characters"):
        parse_markup("x" * (MOST_CHARACTERS + 1))
