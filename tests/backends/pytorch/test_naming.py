import pytest

from slipway.backends.pytorch.naming import argument_order, result_indices
from slipway.errors import SlipwayError


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["mask", "ids"], ("ids", "mask")),  # rule 1: forward's own names
        (["INPUT__1", "INPUT__0"], ("INPUT__0", "INPUT__1")),  # rule 2: index
        (["q__x", "k"], ("q__x", "k")),  # rule 3: order
        (["ids", "INPUT__0"], ("ids", "INPUT__0")),  # a rule applies to all or to none
    ],
)
def test_inputs_are_matched_by_the_first_rule_that_fits_all(names, expected):
    assert argument_order("m", names, ["ids", "mask"]) == expected


def test_a_wrong_number_of_inputs_is_refused_in_tritons_words():
    with pytest.raises(SlipwayError) as caught:
        argument_order("m", ["a"], ["a", "b"])
    assert caught.value.message == "unable to load model 'm', configuration expects 1 inputs, model provides 2"


@pytest.mark.parametrize("names", [["A__0", "B__0"], ["A__0", "B__2"]])
def test_input_indices_must_name_each_argument_once(names):
    with pytest.raises(SlipwayError, match="do not have each index from 0 to 1 exactly once"):
        argument_order("m", names, ["a", "b"])


def test_outputs_go_by_index_or_else_by_order():
    assert result_indices("m", ["OUT__1", "OUT__0"]) == {"OUT__1": 1, "OUT__0": 0}
    assert result_indices("m", ["b", "a"]) == {"b": 0, "a": 1}
    assert result_indices("m", ["out"]) == {"out": 0}
