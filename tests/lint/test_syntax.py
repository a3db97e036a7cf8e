"""What keeps a text from being read: all of it, with places and names."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.lint.syntax import MAX_MISTAKES, nearest_name, read_text


def findings(text):
    return [(each.rule, each.line, each.column) for each in read_text(text, "m", Path("config.pbtxt")).findings]


def test_every_mistake_is_found_in_one_go():
    text = 'max_batchsize: 8\nname: m\ninput { name: "x" data_type: FP32 }\ninstance_group [ { kind: KIND_CPUX } ]\n'
    assert findings(text) == [
        ("unknown-field", 1, 1),
        ("syntax-error", 2, 7),
        ("unknown-value", 3, 30),
        ("unknown-value", 4, 26),
    ]


def test_templates_are_named_by_key_and_line_and_not_found_in_comments():
    text = '# ${this is fine}\nmax_batch_size: ${size}\nparameters { key: "dir" value { string_value: "${d}" } }\n'
    reading = read_text(text, "m", Path("config.pbtxt"))
    assert [each.message for each in reading.findings] == [
        "'max_batch_size' still contains the template ${size}",
        "'parameters.dir.value.string_value' still contains the template ${d}",
    ]
    assert reading.config is None


def test_an_open_bracket_is_reported_once():
    assert [rule for rule, *_ in findings('input [ { name: "x" \n')] == ["syntax-error"]


@pytest.mark.parametrize(
    ("given", "names", "nearest"),
    [
        ("FP32", ["TYPE_FP32", "TYPE_FP16"], ("TYPE_FP32", True)),
        ("max_batchsize", ["max_batch_size", "name"], ("max_batch_size", True)),
        ("batch_put", ["batch_input", "batch_output"], ("batch_input", False)),  # two are close: not sure
        ("colour", ["name"], ("", False)),
    ],
)
def test_a_name_is_sure_when_one_alone_is_close(given, names, nearest):
    assert nearest_name(given, names) == nearest


def test_a_file_full_of_templates_shows_the_first_of_them():
    text = "max_batch_size: ${size} # ${comment}\n" * 50
    found = [rule for rule, *_ in findings(text)]
    assert found.count("template-unfilled") == MAX_MISTAKES
