"""The parameters for batching by length: their meaning, and an error for every mistake in them."""

from __future__ import annotations

import pytest

from slipway.config.normalise import normalise
from slipway.config.padding import padding_problems
from slipway.config.parse import parse_config
from slipway.config.signature import build_signature
from slipway.config.validate import validate
from slipway.core.padding import PaddedInput, PaddingRule, Trim
from slipway.errors import SlipwayError

BATCHED = "max_batch_size: 8 dynamic_batching { }"
PADS = "ids=1 mask=0"


def model(keys, *, batching=BATCHED, ids="TYPE_INT64", mask="TYPE_FP16"):
    parameters = " ".join(
        f'parameters {{ key: "LENGTH_BATCHING_{key}" value {{ string_value: "{value}" }} }}'
        for key, value in keys.items()
    )
    return parse_config(
        f"""name: "m" backend: "onnxruntime" {batching} {parameters}
        input [ {{ name: "ids" data_type: {ids} dims: [ -1 ] }}, {{ name: "mask" data_type: {mask} dims: [ 2, -1 ] }},
                {{ name: "kind" data_type: TYPE_INT32 dims: [ 1 ] }} ]
        output [ {{ name: "hidden" data_type: TYPE_FP32 dims: [ -1, 16 ] }} ]""",
        "config.pbtxt",
    )


def only_problem(keys, **fields):
    (problem,) = padding_problems(model(keys, **fields))
    return str(problem)


def test_without_keys_lengths_are_not_mixed(tmp_path):
    assert build_signature(model({}), tmp_path).padding is None


def test_the_keys_become_the_rule_of_the_signature(tmp_path):
    keys = {
        "PAD_VALUES": "ids=1  mask=-0.5",
        "TRIM_OUTPUTS": "hidden.0=ids.0",
        "MAX_PADDING_SHARE": "0.25",
        "MAX_TOKENS": "512",
    }
    assert build_signature(model(keys), tmp_path).padding == PaddingRule(
        (PaddedInput("ids", 1, (1,)), PaddedInput("mask", -0.5, (2,))),
        (Trim("hidden", 1, "ids", 1),),
        max_share=0.25,
        max_tokens=512,
    )


def test_a_tenth_may_be_padding_and_tokens_are_not_limited_unless_stated_otherwise(tmp_path):
    rule = build_signature(model({"PAD_VALUES": PADS}), tmp_path).padding
    assert (rule.max_share, rule.max_tokens, rule.trims) == (0.1, 0, ())


@pytest.mark.parametrize(
    ("batching", "reason"),
    [
        ("max_batch_size: 8", "batching by length needs dynamic_batching { }, which is not set"),
        ("max_batch_size: 1 dynamic_batching { }", "batching by length needs max_batch_size > 1, not 1"),
    ],
)
def test_batching_by_length_needs_batching(batching, reason):
    problem = only_problem({"PAD_VALUES": PADS}, batching=batching)
    assert problem == f"parameter 'LENGTH_BATCHING_PAD_VALUES' of model 'm' is 'ids=1 mask=0', but {reason}"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("ids=1 musk=0 mask=0", "there is no input 'musk'; inputs: 'ids', 'mask', 'kind'"),
        ("ids=1", "it must name every input with variable dims and lacks 'mask'"),
        ("", "it must name every input with variable dims and lacks 'ids', 'mask'"),
        ("ids=1 mask=0 kind=0", "input 'kind' has no variable dims to pad ([1])"),
        ("ids=1 mask=0 ids=2", "it names input 'ids' twice"),
        ("ids=1 mask", "'mask' does not have the form name=value"),
        ("ids=x mask=0", "'x' is not a TYPE_INT64 value for input 'ids'"),
        ("ids=1.5 mask=0", "'1.5' is not a TYPE_INT64 value for input 'ids'"),
        (f"ids={2**63} mask=0", f"'{2**63}' is not a TYPE_INT64 value for input 'ids'"),
        ("ids=0 mask=70000", "'70000' is not a TYPE_FP16 value for input 'mask'"),
        ("ids=0 mask=nan", "'nan' is not a TYPE_FP16 value for input 'mask'"),
    ],
)
def test_a_mistake_in_the_pad_values_is_named_with_key_and_value(value, reason):
    key = "LENGTH_BATCHING_PAD_VALUES"
    assert only_problem({"PAD_VALUES": value}) == f"parameter '{key}' of model 'm' is '{value}', but {reason}"


@pytest.mark.parametrize(
    ("datatype", "good", "bad"), [("BOOL", "1", "2"), ("UINT8", "255", "-1"), ("BF16", "-inf", "x")]
)
def test_a_pad_value_must_fit_the_datatype(datatype, good, bad):
    assert padding_problems(model({"PAD_VALUES": f"ids={good} mask=0"}, ids=f"TYPE_{datatype}")) == []
    assert f"is not a TYPE_{datatype} value" in only_problem(
        {"PAD_VALUES": f"ids={bad} mask=0"}, ids=f"TYPE_{datatype}"
    )


def test_text_cannot_be_padded():
    problem = only_problem({"PAD_VALUES": "ids=a mask=0"}, ids="TYPE_STRING")
    assert "input 'ids' is TYPE_STRING, which cannot be padded" in problem


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("hidden.0", "'hidden.0' does not have the form output.dim=input.dim"),
        ("hidden.1=ids.0", "'hidden.1' is not a variable dim of output 'hidden' ([-1, 16])"),
        ("hidden.0=ids.1", "'ids.1' is not a variable dim of input 'ids' ([-1])"),
        ("hidden.0=ids.-1", "'ids.-1' is not a variable dim of input 'ids' ([-1])"),
        ("hiden.0=ids.0", "'hiden.0' is not a dim of an output; expected output.dim of 'hidden'"),
        ("hidden.0=ids.0 hidden.0=mask.1", "it names 'hidden.0' twice"),
    ],
)
def test_a_mistake_in_the_outputs_to_trim_is_named(value, reason):
    problem = only_problem({"PAD_VALUES": PADS, "TRIM_OUTPUTS": value})
    assert problem == f"parameter 'LENGTH_BATCHING_TRIM_OUTPUTS' of model 'm' is '{value}', but {reason}"


@pytest.mark.parametrize("value", ["-0.1", "1.1", "nan", "half", ""])
def test_the_share_of_padding_is_a_number_from_0_to_1(value):
    problem = only_problem({"PAD_VALUES": PADS, "MAX_PADDING_SHARE": value})
    assert problem == (
        f"parameter 'LENGTH_BATCHING_MAX_PADDING_SHARE' of model 'm' is '{value}', but it must be a number from 0 to 1"
    )


@pytest.mark.parametrize("value", ["-1", "1.5", "many"])
def test_the_token_limit_is_a_whole_number(value):
    assert "it must be a whole number, 0 for no limit" in only_problem({"PAD_VALUES": PADS, "MAX_TOKENS": value})


@pytest.mark.parametrize("value", ["0", "-4", "1.5", "1025", ""])
def test_the_step_of_lengths_is_a_whole_number_from_1_to_1024(value):
    problem = only_problem({"PAD_VALUES": PADS, "LENGTH_STEP": value})
    assert problem == (
        f"parameter 'LENGTH_BATCHING_LENGTH_STEP' of model 'm' is '{value}', "
        "but it must be a whole number from 1 to 1024"
    )


def test_a_step_of_lengths_becomes_part_of_the_rule(tmp_path):
    rule = build_signature(model({"PAD_VALUES": PADS, "LENGTH_STEP": "8"}), tmp_path).padding
    assert rule.step == 8


def test_keys_that_would_have_no_effect_are_refused():
    assert "it has no effect without LENGTH_BATCHING_PAD_VALUES" in only_problem({"MAX_TOKENS": "5"})
    assert "there is no such key" in only_problem({"PAD_VALUES": PADS, "PAD_VALUE": "1"})


def test_all_mistakes_are_reported_at_once_where_the_model_is_checked(tmp_path):
    config = model({"PAD_VALUES": "ids=x mask=0", "MAX_TOKENS": "x", "TRIM_OUTPUTS": "x"}, batching="max_batch_size: 8")
    normalise(config)
    assert len(validate(config, tmp_path)) == 4
    with pytest.raises(SlipwayError, match=r"dynamic_batching.*PAD_VALUES.*TRIM_OUTPUTS.*MAX_TOKENS"):
        build_signature(config, tmp_path)
