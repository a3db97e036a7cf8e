"""Fields that say what a text must be become grammars; what contradicts, is malformed or too large is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from slipway.rest.openai import chat, completions
from slipway.rest.openai.chat import ChatRequest
from slipway.rest.openai.completions import CompletionRequest
from slipway.rest.openai.errors import ApiError
from slipway.rest.openai.reading import decode_request
from slipway.rest.openai.sampling import plan_sequences
from slipway.rest.openai.structured import checked_structure, read_structure
from slipway.runtime.grammars.source import GrammarKind

SCHEMA = {"type": "integer"}
NAMED = {"name": "n", "schema": SCHEMA}


def completion(**fields: Any) -> CompletionRequest:
    return msgspec.convert({"model": "m", "prompt": "", **fields}, CompletionRequest)


@pytest.mark.parametrize(
    ("fields", "kind", "text"),
    [
        ({"response_format": {"type": "json_object"}}, GrammarKind.JSON_SCHEMA, '{"type":"object"}'),
        (
            {"response_format": {"type": "json_schema", "json_schema": {**NAMED, "strict": True, "description": "d"}}},
            GrammarKind.JSON_SCHEMA,
            '{"type":"integer"}',
        ),
        ({"guided_json": SCHEMA}, GrammarKind.JSON_SCHEMA, '{"type":"integer"}'),
        ({"guided_json": '{"type": "integer"}'}, GrammarKind.JSON_SCHEMA, '{"type":"integer"}'),
        ({"guided_regex": "a+"}, GrammarKind.REGEX, "a+"),
        ({"guided_choice": ["a", "b"]}, GrammarKind.CHOICE, '["a","b"]'),
        ({"guided_grammar": "root ::= x"}, GrammarKind.GRAMMAR, "root ::= x"),
        ({"structured_outputs": {"json": SCHEMA}}, GrammarKind.JSON_SCHEMA, '{"type":"integer"}'),
        ({"structured_outputs": {"json_object": True}}, GrammarKind.JSON_SCHEMA, '{"type":"object"}'),
        ({"structured_outputs": {"regex": "a+"}}, GrammarKind.REGEX, "a+"),
        ({"structured_outputs": {"choice": ["a"]}}, GrammarKind.CHOICE, '["a"]'),
        ({"structured_outputs": {"grammar": "g"}}, GrammarKind.GRAMMAR, "g"),
    ],
)
def test_a_field_becomes_a_grammar_and_a_member_of_the_order(fields, kind, text):
    request = completion(**fields)
    found = read_structure(request)
    assert found is not None
    assert (found[0], found[1].kind, found[1].text) == (next(iter(fields)), kind, text)
    plan = plan_sequences(request, {}, limit=None, usual_limit=16, logprobs=None).held_to(found[1])
    assert plan.order[kind.name.lower()] == text


@pytest.mark.parametrize("route", [chat, completions])
@pytest.mark.parametrize(
    ("fields", "message"), [({"n": 1000}, "'n' is 1000"), ({"stop": ["a"] * 5}, "'stop' has 5 texts")]
)
def test_a_body_that_is_wrong_elsewhere_starts_no_check_of_its_grammar(route, fields, message, monkeypatch):
    async def opened(*_: Any) -> None:
        """Return no tokenizer: none is needed."""

    async def checked(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(route, "open_text_side", opened)
    monkeypatch.setattr(route, "own_settings", lambda *_: {})
    monkeypatch.setattr(route, "checked_structure", checked)
    said = {"messages": [{"role": "user", "content": "a"}]} if route is chat else {"prompt": "a"}
    kind = ChatRequest if route is chat else CompletionRequest
    request = msgspec.convert({"model": "m", "guided_regex": "a+", **said, **fields}, kind)
    with pytest.raises(ApiError, match=message):
        asyncio.run(route._planned(None, None, request))


@pytest.mark.parametrize("fields", [{}, {"response_format": {"type": "text"}}, {"structured_outputs": {}}])
def test_without_such_a_field_there_is_no_grammar(fields):
    assert read_structure(completion(**fields)) is None


@pytest.mark.parametrize(
    ("fields", "parameter", "message"),
    [
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "Missing required"),
        ({"guided_regex": "a", "guided_choice": ["b"]}, "guided_choice", "'guided_regex' and 'guided_choice' both"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "structured_outputs", "'regex' and 'choice' both"),
        ({"guided_choice": []}, "guided_choice", "expected a list of texts"),
        ({"guided_json": "{"}, "guided_json", "JSON schema"),
        ({"guided_regex": "a" * 70_000}, "guided_regex", "longer than 65536"),
        ({"guided_json": {"x-guidance": {}}}, "guided_json", "x-guidance"),
    ],
)
def test_what_is_malformed_or_contradictory_is_refused_by_name(fields, parameter, message):
    with pytest.raises(ApiError) as caught:
        read_structure(completion(**fields))
    assert caught.value.parameter == parameter
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (b'"response_format":{"type":"xml"}', "response_format.type"),
        (b'"response_format":{"type":"json_schema","json_schema":{"name":"n"}}', "response_format.json_schema.schema"),
        (b'"structured_outputs":{"structural_tag":{}}', "structural_tag"),
        (b'"guided_choice":["a",1]', "guided_choice"),
        (b'"guided_choise":["a"]', "did you mean 'guided_choice'"),
    ],
)
def test_a_body_of_another_form_is_refused_by_name(member, message):
    with pytest.raises(ApiError, match=message.replace(".", r"\.")):
        decode_request(b'{"model":"m","messages":[],%b}' % member, ChatRequest)


def test_a_grammar_that_cannot_be_followed_is_refused_before_it_is_queued():
    request = completion(guided_json={"type": "string", "contains": 1})
    with pytest.raises(ApiError, match="contains") as caught:
        asyncio.run(checked_structure(request, 1))
    assert caught.value.parameter == "guided_json"
    assert asyncio.run(checked_structure(completion(guided_regex="a"), 1)) is not None


def test_a_large_grammar_for_many_sequences_is_refused():
    with pytest.raises(ApiError, match="too many for 1024 sequences") as caught:
        asyncio.run(checked_structure(completion(guided_regex="a" * 5000), 1024))
    assert caught.value.status == 413
