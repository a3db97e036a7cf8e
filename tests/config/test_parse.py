"""A configuration is read by the real parsers; what cannot be read is placed and explained."""

from __future__ import annotations

import pytest

from slipway.config.parse import MAX_BYTES, MAX_DEPTH, ConfigError, parse_config, parse_config_json
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


def test_a_field_like_no_other_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match="Known fields: shape"):
        parse_config("input { reshape { qqqq: 1 } }", "f")


def test_deep_nesting_and_huge_files_are_refused_before_they_are_parsed():
    with pytest.raises(ConfigError, match=f"nests more than {MAX_DEPTH} levels"):
        parse_config("input { " * 100_000, "f")
    with pytest.raises(ConfigError, match=f"more than the {MAX_BYTES} allowed"):
        parse_config("#" * (MAX_BYTES + 1), "f")
    with pytest.raises(ConfigError, match="nests more than"):
        parse_config_json('{"parameters":' + '{"a":' * 100_000)


def test_brackets_in_strings_and_comments_do_not_nest():
    text = "# " + "{" * 200 + '\nname: "' + "[" * 200 + "\"\nparameters { key: '}' value { string_value: '<<<' } }"
    assert parse_config(text, "f").name == "[" * 200


def test_json_overrides_accept_quoted_integers_and_name_unknown_fields():
    assert parse_config_json('{"max_batch_size": "16"}').max_batch_size == 16
    with pytest.raises(ConfigError, match="Did you mean 'max_batch_size'"):
        parse_config_json('{"max_batch_sice": 1}')
    with pytest.raises(ConfigError):
        parse_config_json("{nope")
