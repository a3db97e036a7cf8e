"""A configuration is read by the real parsers; what cannot be read is placed and explained."""

from __future__ import annotations

from contextlib import suppress

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from slipway.config.parse import MAX_BYTES, MAX_DEPTH, ConfigError, parse_config, parse_config_json
from slipway.config.render import config_json
from slipway.errors import Code


@pytest.mark.parametrize(
    ("text", "line", "column", "cause"),
    [
        ('backend: "x"\n  max_batch_sise: 8', 2, 3, "Did you mean 'max_batch_size'?"),
        ('input [ { name: "x" data_typ: TYPE_FP32 } ]', 1, 21, "Did you mean 'data_type'?"),
        ("dynamic_batching { max_queue_delay: 3 }", 1, 20, "Did you mean 'max_queue_delay_microseconds'?"),
        ("max_batch_size: ${size}", 1, 17, "Couldn't parse integer: $"),
        ('backend: "a', 1, 10, "missing ending quote"),
        ("input [ { data_type: TYPE_FP31 } ]", 1, 22, "TYPE_FP31"),
        ("max_batch_size: 99999999999", 1, 17, "99999999999"),
    ],
)
def test_a_mistake_is_placed_and_explained(text, line, column, cause):
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "m/config.pbtxt")
    assert (caught.value.line, caught.value.column) == (line, column)
    assert caught.value.message.startswith(f"m/config.pbtxt:{line}:{column}: ")
    assert cause in caught.value.message
    assert caught.value.code is Code.INVALID_ARG


def test_an_unknown_field_without_a_near_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match="Known fields: shape"):
        parse_config("input { reshape { qqqq: 1 } }", "f")


def test_deep_nesting_and_huge_files_are_refused_before_they_are_parsed():
    with pytest.raises(ConfigError, match=f"nests more than {MAX_DEPTH} levels"):
        parse_config("input { " * 100_000, "f")
    with pytest.raises(ConfigError, match=f"more than the {MAX_BYTES} allowed"):
        parse_config("#" * (MAX_BYTES + 1), "f")
    with pytest.raises(ConfigError, match="nests more than"):
        parse_config_json('{"parameters":' + '{"a":' * 100_000)


def test_quotes_that_are_never_closed_cost_no_more_than_their_length():
    for parse in (lambda text: parse_config(text, "f"), parse_config_json):
        with pytest.raises(ConfigError):
            parse('{"' + '\\"' * 100_000)  # each was once tried as a beginning: minutes


def test_brackets_in_strings_and_comments_do_not_nest():
    text = "# " + "{" * 200 + '\nname: "' + "[" * 200 + "\"\nparameters { key: '}' value { string_value: '<<<' } }"
    assert parse_config(text, "f").name == "[" * 200


def test_json_overrides_accept_quoted_integers_and_name_unknown_fields():
    assert parse_config_json('{"max_batch_size": "16"}').max_batch_size == 16
    with pytest.raises(ConfigError, match="Did you mean 'max_batch_size'"):
        parse_config_json('{"max_batch_sice": 1}')
    with pytest.raises(ConfigError):
        parse_config_json("{nope")


@pytest.mark.parametrize("text", ["", "[]", "5", "null", '"name"', " [{}]"])
def test_an_override_is_a_json_object(text):
    with pytest.raises(ConfigError, match="expected a JSON object"):
        parse_config_json(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"max_batch_size": 1e400}',
        '{"max_batch_size": NaN}',
        '{"max_batch_size": ' + "9" * 5000 + "}",
        '{"max_batch_size": 2147483648}',
        '{"name": "\\ud800"}',
        '{"name": "a", "name": "b"}',
        '{"input": [null]}',
        '{"parameters": {"a": "x"}}',
        '{"dynamic_batching": {}, "sequence_batching": {}}',
        '{"input": [{"' + "x" * 1_000_000 + '": 1}]}',
        '{"max_batch_size": "' + "x" * 1_000_000 + '"}',
    ],
)
def test_a_wrong_override_is_reported_in_one_short_line(text):
    with pytest.raises(ConfigError) as caught:
        parse_config_json(text)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 2000


def test_a_long_line_is_shortened():
    with pytest.raises(ConfigError, match=r"Couldn't parse integer: nope$") as caught:
        parse_config("input { dims: [ " + "1, " * 100_000 + "nope ] }", "f")
    assert len(caught.value.message) < 1000


@given(st.text(max_size=200))
def test_any_text_is_a_configuration_or_a_config_error(text):
    for parse in (lambda: parse_config(text, "f"), lambda: parse_config_json(text)):
        with suppress(ConfigError):
            assert isinstance(parse(), model_config_pb2.ModelConfig)


SIZES = st.integers(-(2**63), 2**63 - 1)
NAMES = st.text(max_size=5)
TENSORS = st.builds(
    dict, name=NAMES, data_type=st.integers(0, 14), dims=st.lists(SIZES, max_size=4), allow_ragged_batch=st.booleans()
)
CONFIGS = st.builds(
    model_config_pb2.ModelConfig,
    name=NAMES,
    max_batch_size=st.integers(-(2**31), 2**31 - 1),
    input=st.lists(TENSORS, max_size=3),
    metric_tags=st.dictionaries(NAMES, NAMES, max_size=3),
    parameters=st.dictionaries(NAMES, NAMES.map(lambda text: {"string_value": text}), max_size=3),
    dynamic_batching=st.none()
    | st.builds(
        dict,
        max_queue_delay_microseconds=st.integers(0, 2**64 - 1),
        priority_queue_policy=st.dictionaries(
            st.integers(0, 2**64 - 1), st.builds(dict, max_queue_size=st.integers(0, 2**32 - 1)), max_size=3
        ),
    ),
    instance_group=st.lists(st.builds(dict, kind=st.integers(0, 3), count=st.integers(0, 9)), max_size=2),
    model_warmup=st.lists(
        st.builds(dict, inputs=st.dictionaries(NAMES, st.builds(dict, zero_data=st.booleans()), max_size=2)), max_size=2
    ),
)


@given(CONFIGS)
def test_what_is_shown_is_read_back_as_the_same_configuration(config):
    assert parse_config_json(config_json(config).decode()) == config


@given(CONFIGS)
def test_what_protobuf_writes_is_read_back_as_the_same_configuration(config):
    assert parse_config(text_format.MessageToString(config), "f") == config


@given(st.floats(-(2.0**126), 2.0**126, width=32))  # protobuf's own reader refuses the nine digits of the largest
def test_a_float_is_shown_as_a_number_that_is_read_back_as_the_same(value):
    config = model_config_pb2.ModelConfig()
    config.sequence_batching.direct.minimum_slot_utilization = value
    assert parse_config_json(config_json(config).decode()) == config
