"""A grammar that is impossible, not supported, or would take all time, memory or the process is refused, and nothing
else is harmed."""

from __future__ import annotations

import asyncio
import sys

import pytest

from slipway.errors import Code, SlipwayError
from slipway.runtime.grammars import checking
from slipway.runtime.grammars.checking import GrammarChecks
from slipway.runtime.grammars.source import GrammarKind, GrammarSource, read_grammar

CHAIN = {f"a{step}": {"$ref": f"#/$defs/a{step + 1}"} for step in range(1400)}


def source(**member):
    found = read_grammar(member)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ({"json_schema": False}, "schema is false"),
        (
            {"json_schema": {"type": "string", "minLength": 5, "maxLength": 3}},
            "minLength (5) is greater than maxLength",
        ),
        ({"json_schema": {"not": {"type": "string"}}}, '["not"]'),
        ({"json_schema": {"type": "array", "uniqueItems": True}}, '["uniqueItems"]'),
        ({"json_schema": {"oneOf": [{"type": "integer"}, {"type": "number"}]}}, "oneOf"),
        ({"json_schema": {"type": "strin"}}, "strin"),
        ({"json_schema": {"$ref": "http://localhost/x"}}, "http://localhost/x"),
        ({"json_schema": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}}, "no text satisfies it"),
        ({"regex": "(?=a)b"}, "look-ahead"),
        ({"regex": "["}, "regex"),
        ({"regex": r"[^\s\S]"}, "no text satisfies it"),
        ({"grammar": "start: a\na: a"}, "no text satisfies it"),
        ({"grammar": "start: " + "(" * 3000}, "nested"),
    ],
)
def test_a_grammar_that_no_text_can_follow_is_refused_with_the_reason(member, message):
    with pytest.raises(SlipwayError) as caught:
        GrammarChecks().part(source(**member))
    assert caught.value.code is Code.INVALID_ARG
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("member", "message"),
    [
        pytest.param({"json_schema": {"type": "integer", "multipleOf": 1_000_003}}, "to compile", id="time"),
        pytest.param(
            {"json_schema": {"$ref": "#/$defs/a0", "$defs": {**CHAIN, "a1400": {}}}}, "nested too deeply", id="stack"
        ),
    ],
)
def test_a_grammar_that_would_end_the_process_or_never_end_is_refused(member, message):
    with pytest.raises(SlipwayError) as caught:
        GrammarChecks().part(source(**member))
    assert caught.value.code is Code.INVALID_ARG
    assert message in caught.value.message


def test_an_answer_is_kept_also_a_refusal(monkeypatch):
    checks = GrammarChecks()
    good, bad = source(regex="a"), source(regex="[")
    part = checks.part(good)
    with pytest.raises(SlipwayError):
        checks.part(bad)
    monkeypatch.setattr(checking, "_ask", None)
    assert checks.part(good) == part
    with pytest.raises(SlipwayError):
        checks.part(bad)


def test_kept_answers_have_a_bound(monkeypatch):
    checks = GrammarChecks()
    asked: list[str] = []

    def answer(one):
        asked.append(one.text)
        return {"part": {}}

    monkeypatch.setattr(checking, "_ask", answer)
    for number in range(1000):
        checks.part(source(regex=str(number)))
    checks.part(source(regex="999"))
    assert len(asked) == 1000
    checks.part(source(regex="1"))
    assert len(asked) == 1001


def test_it_is_checked_off_the_event_loop():
    async def check():
        return await GrammarChecks().check_soon(source(regex="a/b"))

    assert asyncio.run(check()) == {"lark_grammar": "start: /a\\/b/"}


def test_a_missing_library_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    monkeypatch.setattr(checking, "find_spec", lambda name: None if name == "llguidance" else object())
    with pytest.raises(SlipwayError, match="slipway-serving\\[structured\\]") as caught:
        GrammarChecks().part(GrammarSource(GrammarKind.REGEX, "a"))
    assert caught.value.code is Code.UNSUPPORTED
