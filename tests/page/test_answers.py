"""The page shows each kind of answer for what it is, and never as HTML."""

from __future__ import annotations

import re

import pytest

from tests.page.conftest import picture
from tests.page.models import HOSTILE, PIECES, SCRIPT


def send(page):
    page.get_by_role("button", name="Send").click()


def fill(page, name, text):
    page.get_by_label(name, exact=True).fill(text)


def values(page, tensor):
    """Return the values of a tensor as the table shows them."""
    row = page.locator("table tr", has=page.get_by_role("rowheader", name=tensor, exact=True))
    return row.locator(".values").inner_text()


def test_embeddings_are_a_similarity_matrix(open_page):
    page = open_page("#model=embedder")
    fill(page, "text", "the cat sat\nthe cat sat\nstocks fell")
    send(page)
    page.wait_for_selector(".matrix")
    rows = page.locator(".matrix tbody tr")
    shown = [re.findall(r"-?\d\.\d\d", row.inner_text()) for row in rows.all()]
    assert [row[at] for at, row in enumerate(shown)] == ["1.00"] * 3
    assert shown[0][1] == "1.00"
    assert shown[0][2] == shown[2][0] != "1.00"
    assert "stocks fell" in rows.nth(2).inner_text()


def test_one_embedding_is_its_numbers_and_its_length(open_page):
    page = open_page("#model=embedder")
    fill(page, "text", "the cat sat")
    send(page)
    assert "16 numbers, length" in page.locator(".vectors").inner_text()


def test_labels_are_bars_the_best_first(open_page):
    page = open_page("#model=moods")
    fill(page, "text", "a\nb")
    send(page)
    page.wait_for_selector(".bar-row")
    cards = page.locator(".result > .card")
    assert cards.count() == 2
    assert cards.nth(1).inner_text().split() == ["b", "positive", "0.8", "negative", "0.15", "neutral", "0.05"]


def test_labels_of_the_request_name_the_bars(open_page):
    page = open_page("#model=topics")
    fill(page, "labels", "first\nsecond")
    send(page)
    page.wait_for_selector(".bar-row")
    assert page.locator(".bar-name").all_inner_texts() == ["first", "second"]
    assert page.locator(".bar-value").all_inner_texts() == ["0.7", "0.1"]


def test_scores_order_the_texts(open_page):
    page = open_page("#model=ranker")
    fill(page, "query", "does the cat sleep")
    fill(page, "text", "dogs bark\nthe cat does sleep\nthe cat")
    send(page)
    page.wait_for_selector(".bar-row")
    assert page.locator(".bar-name").all_inner_texts() == ["the cat does sleep", "the cat", "dogs bark"]


def test_objects_are_drawn_on_the_picture(open_page, tmp_path):
    page = open_page("#model=pages")
    page.get_by_label("encoded_image", exact=True).set_input_files(
        [picture(tmp_path / "a.png"), picture(tmp_path / "b.png", 100, 200)]
    )
    page.wait_for_selector(".pictures canvas >> nth=1")
    send(page)
    page.wait_for_selector(".detected")
    assert page.locator(".detected").count() == 2
    boxes = page.locator(".detected >> nth=0").locator("rect")
    assert boxes.count() == 3
    assert [float(boxes.nth(0).get_attribute(name)) for name in ("x", "y", "width", "height")] == pytest.approx(
        [40, 30, 200, 90], abs=0.01
    )
    assert page.locator(".detected text").all_text_contents()[:3] == ["table 0.91", "chart 0.77", "chart 0.60"]


def test_a_picture_becomes_pixels(open_page, tmp_path):
    page = open_page("#model=pixels")
    page.get_by_label("image", exact=True).set_input_files(picture(tmp_path / "a.png", 7, 5))
    page.wait_for_selector(".pictures canvas")
    send(page)
    page.wait_for_selector(".values")
    assert values(page, "values") == "10, 20, 30, 5, 7, 3"


EXACT = (
    ("numbers", "1.5, -2 3e-3", "1.5, -2, 0.003"),
    ("numbers", "1 2\n3 4", "1, 2, 3, 4"),
    ("numbers", "[[1, 2], [3, 0.25]]", "1, 2, 3, 0.25"),
    ("numbers", "nan inf -inf", "NaN, Infinity, -Infinity"),
    ("halves", "1.5 65504 6e-8 0.333251953125 -0", "1.5, 65504, 5.960e-8, 0.333252, 0"),
    ("longs", "9007199254740993 -9223372036854775808", "9007199254740993, -9223372036854775808"),
    ("flags", "true 0 FALSE", "true, false, false"),
)
REFUSED = (
    ("numbers", "1 two", "IN0: 'two' is not a number"),
    ("numbers", "1 2\n3", "IN0: row 2 has 1 values, row 1 has 2"),
    ("numbers", "", "IN0: a value is missing"),
    ("longs", "9223372036854775808", "IN0: 9223372036854775808 is outside the range of INT64"),
    ("longs", "1.5", "IN0: '1.5' is not a whole number"),
    ("flags", "maybe", "IN0: 'maybe' is neither true nor false"),
)


def choose(page, model):
    """Show another model without loading the page again."""
    page.get_by_role("button", name=re.compile(f"^{model}")).click()
    page.get_by_role("heading", level=1, name=model, exact=True).wait_for()


def test_other_tensors_are_a_table_of_exact_values(open_page):
    page = open_page()
    for model, text, shown in EXACT:
        choose(page, model)
        page.locator(".answers").evaluate("node => node.replaceChildren()")
        fill(page, "IN0", text)
        send(page)
        page.wait_for_selector(".values")
        assert (text, values(page, "OUT0")) == (text, shown)


def test_what_is_not_a_value_is_refused_before_it_is_sent(open_page, served):
    page = open_page()
    before = len(served.plane.requests)
    for model, text, reason in REFUSED:
        choose(page, model)
        fill(page, "IN0", text)
        send(page)
        page.get_by_role("alert").get_by_text(reason, exact=True).wait_for()
    assert len(served.plane.requests) == before


def test_made_up_numbers_have_the_shape(open_page):
    page = open_page("#model=numbers")
    page.get_by_label("How to fill in IN0").select_option("Zeros")
    fill(page, "IN0", "2, 3")
    send(page)
    page.wait_for_selector(".values")
    assert values(page, "OUT0") == "0, 0, 0, 0, 0, 0"


def test_the_error_of_a_model_is_shown(open_page):
    page = open_page("#model=failing")
    send(page)
    assert page.locator(".answers .error").inner_text() == "the model said no"
    open_page.watched.problems[:] = [each for each in open_page.watched.problems if "status of 400" not in each]


def test_parameters_are_sent_and_have_to_be_an_object(open_page, served):
    page = open_page("#model=numbers")
    page.get_by_text("Parameters", exact=True).click()
    fill(page, "Parameters of the request, in JSON", "[1]")
    send(page)
    assert page.locator(".answers .error").inner_text() == "Parameters: they are not an object"
    fill(page, "Parameters of the request, in JSON", '{"mine": "yes"}')
    send(page)
    page.wait_for_selector(".values")
    assert served.plane.requests[-1].parameters["mine"] == "yes"


def test_text_streams_while_it_is_made(open_page):
    page = open_page("#model=talker&tab=stream")
    send(page)
    page.wait_for_selector(".answer.streaming")
    page.wait_for_selector(".answer:not(.streaming)")
    assert page.locator(".answer").inner_text() == "".join(PIECES)
    assert "for 4 responses, the first after" in page.locator(".took").inner_text()


def test_a_stream_without_an_end_is_stopped(open_page, served):
    page = open_page("#model=counter")
    send(page)
    page.wait_for_selector(".answers table >> nth=3")
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Send").and_(page.locator(":enabled")).wait_for()
    assert page.locator(".answers table").count() >= 4
    assert served.plane.requests[-1].model_name == "counter"


def test_a_chat_goes_on(open_page, served):
    page = open_page("#model=talker")
    for text in ("How far is the Moon?", "And in miles?"):
        fill(page, "Message", text)
        page.keyboard.press("Enter")
        page.wait_for_selector(".bubble.assistant p:not(.streaming)")
        page.get_by_role("button", name="Send").and_(page.locator(":enabled")).wait_for()
    answer = f"Model: {''.join(PIECES)}"
    said = page.locator(".bubble").all_text_contents()
    assert said == ["You: How far is the Moon?", answer, "You: And in miles?", answer]
    assert page.locator(".log b").count() == 0
    page.get_by_role("button", name="New conversation").click()
    assert page.locator(".bubble").count() == 0


def test_nothing_that_a_model_says_becomes_html(open_page):
    page = open_page()
    page.get_by_role("button", name=HOSTILE).click()
    page.get_by_role("heading", level=1, name=HOSTILE).wait_for()
    fill(page, "text", f"{HOSTILE}{SCRIPT}")
    send(page)
    assert page.locator(".answer").inner_text() == f"{HOSTILE}{SCRIPT}"
    page.get_by_text("This request in programs").click()
    for tab in ("Details", "Live", "Conversion"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_selector(".panel > *")
    for model, tab in (("broken", ""), ("embedder", "conversion"), ("moods", "conversion")):
        page.goto(f"{page.url.partition('#')[0]}#model={model}&tab={tab}")
        page.get_by_role("heading", level=1, name=model).wait_for()
    assert page.evaluate("window.hacked") is None
    assert page.locator("img:not(.logo), main script, iframe").count() == 0


def test_the_policy_refuses_what_text_must_never_become(open_page):
    page = open_page()
    tried = "() => { try { document.body.innerHTML = '<b></b>'; return 'set'; } catch (error) { return error.name; } }"
    assert page.evaluate(tried) == "TypeError"
    assert any("TrustedHTML" in each for each in open_page.watched.problems)
    open_page.watched.problems.clear()
