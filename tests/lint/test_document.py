"""The outline of a config.pbtxt: from a field's path to its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.lint.document import scan
from slipway.lint.syntax import read_text
from slipway.problems import Named

TEXT = """name: "m" # a comment with { in it
dynamic_batching {
  preferred_batch_size: [ 4, 16 ]
}
input [
  { name: "x" data_type: TYPE_FP32 dims: [ -1, 3 ] },
  { name: "y", data_type: TYPE_FP32, dims: -1 dims: 4 }
]
ensemble_scheduling { step { input_map { key: "a" value: "b" } } step: < model_name: 'q' > }
max_batch_size: ${size}
"""


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (("name",), "name:"),
        (("dynamic_batching", "preferred_batch_size", 1), "16"),
        (("input", Named("y"), "dims"), "dims: -1"),
        (("input", Named("y"), "dims", 1), "4 }"),
        (("ensemble_scheduling", "step", 0, "input_map", Named("a", "key"), "value"), 'value: "b"'),
        (("ensemble_scheduling", "step", 1, "model_name"), "model_name: 'q'"),
        (("max_batch_size", 0), "${size}"),
    ],
)
def test_a_path_leads_to_its_place(path, found):
    document = scan(TEXT)
    assert TEXT[document.offset(path) :].startswith(found)
    assert document.find(path) is not None


def test_a_path_that_is_not_written_leads_to_the_nearest_thing_around_it():
    document = scan(TEXT)
    assert document.find(("input", Named("z"), "dims")) is None
    assert document.place(document.offset(("input", Named("z"), "dims"))) == (5, 1)
    assert document.place(document.offset(("output",))) == (1, 1)


def test_lines_and_columns_count_from_one():
    document = scan("a: 1\nbb: 2")
    assert document.place(document.offset(("bb",))) == (2, 1)
    assert document.offset_of(2, 1) == 5


@given(st.text(alphabet="ab{}<>[]:,;\"'#\\\n $-1", max_size=80))
def test_no_text_is_too_broken_to_be_scanned_and_read(tmp_path_factory, text):
    document = scan(text)
    assert all(0 <= entry.start < entry.end <= len(text) for entry in document.entries)
    assert len(read_text(text, "m", tmp_path_factory.getbasetemp() / "config.pbtxt").findings) <= 50


def test_deep_nesting_is_skipped():
    assert scan("a {" * 5000).entries


def test_an_unclosed_string_ends_with_its_line():
    document = scan('name: "m\nbackend: "identity"\n')
    assert [entry.name for entry in document.entries] == ["name", "backend"]


@pytest.mark.parametrize("text", ['name: "' + '\\"' * 300_000, "a: " + "${" * 300_000])
def test_a_long_line_of_unclosed_strings_or_templates_is_read_once(text):
    """Reading to the end of the line for each of its characters would take minutes."""
    assert scan(text).entries
