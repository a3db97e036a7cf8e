"""Calls of tools in a text that arrives in pieces: what is found does not depend on the borders of the pieces."""

from __future__ import annotations

import random

import pytest

from slipway.chat.call_syntax import ToolCall
from slipway.chat.tool_formats import TOOL_FORMATS
from slipway.rest.openai.tool_reader import ToolCallReader

MOON = ToolCall("distance", '{"body": "Moon"}')
OBJECT = '{"name": "distance", "arguments": {"body": "Moon"}}'
HERMES = f"<tool_call>\n{OBJECT}\n</tool_call>"
# Form, text, what is found when all pieces are joined.
CASES = {
    "plain text": ("hermes", "How far? <b>Far</b>. ", ["How far? <b>Far</b>. "]),
    "a call": ("hermes", HERMES, [MOON]),
    "text before and after it": ("hermes", f"I look.\n{HERMES}\nDone ", ["I look.", MOON, "\nDone"]),
    "several calls": ("hermes", f"\n{HERMES}\n{HERMES}\n", [MOON, MOON]),
    "an end that is left out": ("hermes", HERMES.removesuffix("</tool_call>"), [MOON]),
    "a call that is cut off": ("hermes", HERMES[:40], [HERMES[:40]]),
    "a malformed call": ("hermes", "<tool_call>what?</tool_call> yes", ["<tool_call>what?</tool_call> yes"]),
    "an unknown function": ("hermes", HERMES.replace("dist", "inst"), [HERMES.replace("dist", "inst")]),
    "a mark that is not one": ("hermes", "<tool_cal> <tool_ca", ["<tool_cal> <tool_ca"]),
    "blanks alone": ("hermes", " \n ", [" \n "]),
    "llama without a mark": ("llama3_json", f" {OBJECT}", [MOON]),
    "llama with one": ("llama3_json", f"<|python_tag|>{OBJECT}; {OBJECT}", [MOON, MOON]),
    "llama with another object": ("llama3_json", '{"a": 1} is JSON', ['{"a": 1} is JSON']),
    "llama with another name": ("llama3_json", '{"name": "Ada"}', ['{"name": "Ada"}']),
    "llama with half an object": ("llama3_json", '{"na', ['{"na']),
    "llama with a call in a text": ("llama3_json", f"so {OBJECT}", [f"so {OBJECT}"]),
    "mistral's list": ("mistral", f"[TOOL_CALLS] [{OBJECT}, {OBJECT}]", [MOON, MOON]),
    "mistral's names": (
        "mistral",
        'ok [TOOL_CALLS]distance[ARGS]{"body": "Moon"}[TOOL_CALLS]distance[ARGS]{"body": "Moon"}',
        ["ok", MOON, MOON],
    ),
    "granite": ("granite", f"<|tool_call|>[{OBJECT}]", [MOON]),
    "phi": ("phi4_mini_json", f"<|tool_call|>[{OBJECT}]<|/tool_call|>", [MOON]),
    "gemma": (
        "functiongemma",
        "<start_function_call>call:distance{body:<escape>Moon<escape>}<end_function_call>",
        [MOON],
    ),
}


def found(form: str, pieces: list[str], most: int | None = None) -> list[str | ToolCall]:
    """Return what a reader finds, with neighbouring texts joined."""
    reader = ToolCallReader(TOOL_FORMATS[form], {"distance"}, most)
    items = [item for piece in pieces for item in reader.push(piece)] + reader.rest()
    joined: list[str | ToolCall] = []
    for item in items:
        if isinstance(item, str) and joined and isinstance(joined[-1], str):
            joined[-1] += item
        else:
            joined.append(item)
    return joined


@pytest.mark.parametrize("case", CASES)
def test_calls_and_content_are_told_apart_whole_and_in_any_pieces(case):
    form, text, expected = CASES[case]
    assert found(form, [text]) == expected
    assert found(form, list(text)) == expected
    chance = random.Random(3)
    for _ in range(20):
        cuts = sorted(chance.sample(range(len(text) + 1), min(4, len(text))))
        assert found(form, [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]) == expected


def test_a_call_is_passed_on_with_its_end_and_text_at_once():
    reader = ToolCallReader(TOOL_FORMATS["hermes"], {"distance"})
    assert reader.push("So far") == ["So far"]
    assert reader.push(" <") == []
    assert reader.push("b") == [" <b"]
    assert reader.push("<tool_call>" + OBJECT) == []
    assert reader.push("</tool_call>") == [MOON]
    assert reader.rest() == []


def test_only_the_first_call_counts_if_there_may_be_no_more():
    assert found("hermes", [f"{HERMES}\n{HERMES} end"], most=1) == [MOON, " end"]
    assert found("mistral", [f"[TOOL_CALLS][{OBJECT}, {OBJECT}]"], most=1) == [MOON]


def test_a_body_without_end_becomes_text_in_bounded_memory():
    reader = ToolCallReader(TOOL_FORMATS["hermes"], {"distance"})
    text = "".join(item for _ in range(40) for item in reader.push("<tool_call>" + "x" * (1 << 16)))
    assert len(text) > 1 << 20
    assert len(text + "".join(reader.rest())) == 40 * (len("<tool_call>") + (1 << 16))
