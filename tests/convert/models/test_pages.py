"""The models before and after a page-element detector, run alone."""

from __future__ import annotations

import numpy as np
import pytest

from slipway.documents.detection import DetectionRules, page_elements
from tests.convert.models.kit import written

LABELS = ["table", "chart", "title"]
SIZES = np.array([[1024, 1024], [512, 1024]])


@pytest.fixture
def output():
    """The output for two pages: the first has two tables that overlap by 0.6, and a doubtful title."""
    output = np.zeros((2, 21_504, 8), np.float32)
    output[0, 0] = [300, 300, 200, 200, 1, 0.9, 0, 0]
    output[0, 1] = [350, 300, 200, 200, 1, 0.8, 0, 0]
    output[0, 2] = [800, 800, 200, 100, 1, 0, 0, 0.3]
    output[1, 5] = [500, 200, 100, 100, 1, 0, 0.7, 0]
    return output


def found(tmp_path, output, **parameters):
    given = {name: str(value) for name, value in parameters.items()}
    with written(tmp_path, "page_elements", outputs=LABELS, parameters=given) as model:
        return model.ask(output=output, page_size=SIZES)


def test_each_label_has_its_rows_and_pages_are_filled_with_zeros(tmp_path, output):
    answer = found(tmp_path, output)
    pages = page_elements(output, [(1024, 1024), (512, 1024)])
    assert {label: answer[label].shape for label in LABELS} == {
        "table": (2, 1, 5),
        "chart": (2, 1, 5),
        "title": (2, 0, 5),
    }
    np.testing.assert_allclose(answer["table"][0], pages[0]["table"], rtol=1e-6)
    assert not answer["table"][1].any()
    np.testing.assert_allclose(answer["chart"][1], pages[1]["chart"], rtol=1e-6)


def test_the_parameters_set_what_counts_as_an_element(tmp_path, output):
    rules = DetectionRules(least_product=0.25, most_overlap=0.8, least_score=0.2, most=9)
    answer = found(tmp_path, output, least_product=0.25, most_overlap=0.8, least_score=0.2, most=9)
    (expected, _) = page_elements(output, [(1024, 1024), (512, 1024)], rules)
    assert (len(expected["table"]), len(expected["title"])) == (2, 1)
    for label in LABELS:
        np.testing.assert_allclose(answer[label][0, : len(expected[label])], expected[label], rtol=1e-6)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"least_product": "half"}, "could not convert string to float: 'half'"), ({"most": 0}, "most is 0")],
    ids=["not-a-number", "none"],
)
def test_rules_that_cannot_be_kept_fail_the_load(tmp_path, output, parameters, message):
    with pytest.raises(Exception, match=message):
        found(tmp_path, output, **parameters)


def test_output_for_other_labels_is_refused(tmp_path, output):
    with written(tmp_path, "page_elements", outputs=LABELS) as model:
        code, message = model.refusal(output=output[:, :, :7], page_size=SIZES)
    assert code == "INVALID_ARG"
    assert "expected floating point [pages, rows, 8]" in message


def test_a_request_for_no_page_is_refused(tmp_path):
    with written(tmp_path, "page_letterbox") as model:
        assert model.refusal(image=np.zeros((0, 9, 9, 3), np.uint8))[1] == "a request needs at least one page"
        assert "has neither" in model.refusal()[1]
