"""What a request asks a text to be is read with bounds, and what contradicts itself is refused by name."""

from __future__ import annotations

import pytest

from slipway.errors import Code, SlipwayError
from slipway.runtime.grammars.source import MOST_CHARACTERS, GrammarKind, GrammarSource, read_grammar


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, None),
        ({"max_tokens": 3}, None),
        ({"json_object": False}, None),
        ({"json_object": True}, GrammarSource(GrammarKind.JSON_SCHEMA, '{"type":"object"}')),
        ({"json_schema": {"type": "integer"}}, GrammarSource(GrammarKind.JSON_SCHEMA, '{"type":"integer"}')),
        ({"guided_json": ' {"type": "integer"}'}, GrammarSource(GrammarKind.JSON_SCHEMA, '{"type":"integer"}')),
        ({"json_schema": True}, GrammarSource(GrammarKind.JSON_SCHEMA, "true")),
        ({"regex": "a+"}, GrammarSource(GrammarKind.REGEX, "a+")),
        ({"guided_choice": ["é", "b"]}, GrammarSource(GrammarKind.CHOICE, '["é","b"]')),
        ({"choice": '["a"]', "json_object": False}, GrammarSource(GrammarKind.CHOICE, '["a"]')),
        ({"grammar": "root ::= x"}, GrammarSource(GrammarKind.GRAMMAR, "root ::= x")),
    ],
)
def test_each_name_has_its_kind_of_grammar(members, expected):
    assert read_grammar(members) == expected


@pytest.mark.parametrize("name", ["json_schema", "regex", "choice", "grammar"])
def test_a_source_says_which_argument_asks_for_it(name):
    text = '["a"]' if name == "choice" else "true"
    source = read_grammar({name: text})
    assert source is not None
    assert source.member == (name, text)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"json_schema": "{"}, "'json_schema': JSON schema: "),
        ({"json_schema": [1]}, "'json_schema': a JSON schema must be an object, true or false"),
        ({"json_schema": {"x-guidance": {"lenient": True}}}, "must not have the key 'x-guidance'"),
        ({"json_schema": "[" * 500 + "]" * 500}, "nested more than"),
        ({"json_object": 1}, "'json_object': expected true or false"),
        ({"regex": ""}, "'regex': expected a text"),
        ({"regex": 5}, "'regex': expected a text"),
        ({"regex": "\ud800"}, "half a surrogate pair"),
        ({"choice": []}, "'choice': expected a list of texts"),
        ({"choice": [1]}, "'choice': expected a list of texts"),
        ({"guided_choice": ["a"] * 5000}, "'guided_choice': 5000 choices are more than 4096"),
        ({"grammar": "x" * (MOST_CHARACTERS + 1)}, "is longer than 65536"),
        ({"grammar": "x", "regex": "y"}, "'regex' and 'grammar' both say what the text must be"),
    ],
)
def test_what_is_malformed_too_large_or_contradictory_is_refused_by_name(members, message):
    with pytest.raises(SlipwayError) as caught:
        read_grammar(members)
    assert caught.value.code is Code.INVALID_ARG
    assert message in caught.value.message
