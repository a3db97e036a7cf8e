"""How lines fit the tensors of a model."""

from __future__ import annotations

import pytest

from slipway.errors import SlipwayError
from slipway.lines.text_model import text_model


def tensor(name, datatype="BYTES", shape=(-1, 1)):
    return {"name": name, "datatype": datatype, "shape": list(shape)}


def model(inputs, outputs, *, rows=8, optional=(), decoupled=False, **names):
    metadata = {"name": "m", "inputs": inputs, "outputs": outputs}
    config = {
        "max_batch_size": rows,
        "input": [{"name": each["name"], "optional": each["name"] in optional} for each in inputs],
        "model_transaction_policy": {"decoupled": decoupled},
    }
    return text_model(metadata, config, **names)


def test_the_only_texts_are_found_between_other_tensors():
    found = model([tensor("a"), tensor("n", "INT32")], [tensor("ids", "INT32"), tensor("b")], optional=["n"])
    assert (found.input_name, found.output_name, found.rows) == ("a", "b", 8)
    assert found.shape(3) == [3, 1]


def test_a_required_text_is_preferred_to_optional_ones():
    assert model([tensor("a"), tensor("INPUT_TEXT")], [tensor("b")], optional=["INPUT_TEXT"]).input_name == "a"


def test_the_usual_name_is_preferred_among_optional_ones():
    inputs = [tensor("input"), tensor("INPUT_TEXT"), tensor("other")]
    found = model(inputs, [tensor("x"), tensor("OUTPUT_TEXT")], optional=["input", "INPUT_TEXT", "other"])
    assert (found.input_name, found.output_name) == ("INPUT_TEXT", "OUTPUT_TEXT")


def test_names_can_be_given():
    inputs, outputs = [tensor("a"), tensor("b")], [tensor("c"), tensor("d")]
    found = model(inputs, outputs, optional=["a", "b"], input_name="b", output_name="d")
    assert (found.input_name, found.output_name) == ("b", "d")


@pytest.mark.parametrize(
    ("rows", "shape", "three", "most"),
    [(8, (-1, 1), [3, 1], 8), (8, (-1, -1), [3, 1], 8), (0, (-1,), [3], 0), (0, (-1, 1), [3, 1], 0)],
)
def test_lines_are_rows_where_the_shape_varies(rows, shape, three, most):
    found = model([tensor("a", shape=shape)], [tensor("b")], rows=rows)
    assert (found.shape(3), found.rows) == (three, most)


@pytest.mark.parametrize(("shape", "one"), [((1,), [1]), ((1, 1), [1, 1])])
def test_a_model_without_batches_takes_one_line(shape, one):
    found = model([tensor("a", shape=shape)], [tensor("b")], rows=0)
    assert (found.shape(1), found.rows) == (one, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"inputs": [tensor("a", "INT32")]}, "does not have a string input (inputs: a INT32)"),
        ({"outputs": [tensor("b", "FP32")]}, "does not have a string output (outputs: b FP32)"),
        ({"inputs": [tensor("a"), tensor("n", "INT32")]}, "also requires n INT32"),
        ({"inputs": [tensor("a"), tensor("c")]}, "has 2 string inputs: name one with --input_name"),
        ({"outputs": [tensor("b"), tensor("d")]}, "has 2 string outputs: name one with --output_name"),
        ({"input_name": "aa"}, "does not have the string input 'aa'; did you mean 'a'?"),
        ({"inputs": [tensor("a", shape=(-1, 2))]}, "takes more than one text"),
        ({"decoupled": True}, "use 'slipway infer m'"),
    ],
)
def test_a_model_that_lines_do_not_fit_is_refused_with_its_tensors(settings, message):
    with pytest.raises(SlipwayError) as caught:
        model(**{"inputs": [tensor("a")], "outputs": [tensor("b")], **settings})
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("values", "lines", "rows"),
    [
        ([b"1", b"2"], 2, [[b"1"], [b"2"]]),
        ([b"1", b"2", b"3", b"4"], 2, [[b"1", b"2"], [b"3", b"4"]]),
        ([], 2, [[b""], [b""]]),
    ],
)
def test_a_response_is_divided_among_its_lines(values, lines, rows):
    assert model([tensor("a")], [tensor("b")]).rows_of(values, lines) == rows


def test_a_response_that_cannot_be_divided_is_refused():
    with pytest.raises(SlipwayError, match="returned 3 values of 'b' for 2 lines"):
        model([tensor("a")], [tensor("b")]).rows_of([b"1", b"2", b"3"], 2)
