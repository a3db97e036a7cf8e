"""Calls of tools in the text of each family, and what is not one."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from slipway.chat.call_syntax import (
    DEEPSEEK_BREAK,
    DEEPSEEK_CALL,
    ToolCall,
    read_deepseek_calls,
    read_gemma_calls,
    read_json_calls,
    read_mistral_calls,
)

MOON = ToolCall("distance", '{"body": "Moon"}')
OBJECT = '{"name": "distance", "arguments": {"body": "Moon"}}'
BEGIN, END = DEEPSEEK_CALL
CASES = {
    "object": (read_json_calls, f"\n{OBJECT}\n", [MOON]),
    "parameters": (read_json_calls, '{"name": "distance", "parameters": {"body": "Moon"}}', [MOON]),
    "with a type": (
        read_json_calls,
        '{"type": "function", "name": "distance", "parameters": {"body": "Moon"}}',
        [MOON],
    ),
    "list": (read_json_calls, f"[{OBJECT}, {OBJECT}]", [MOON, MOON]),
    "one after the other": (read_json_calls, f"{OBJECT}; {OBJECT}\n{OBJECT}", [MOON] * 3),
    "arguments in a text": (read_json_calls, json.dumps({"name": "distance", "arguments": '{"body": "Moon"}'}), [MOON]),
    "no arguments": (read_json_calls, '{"name": "now"}', [ToolCall("now", "{}")]),
    "any characters": (
        read_json_calls,
        '{"name": "say", "arguments": {"x": "東\\u00e9"}}',
        [ToolCall("say", '{"x": "東é"}')],
    ),
    "mistral's list": (read_mistral_calls, f" [{OBJECT}]", [MOON]),
    "mistral's name": (read_mistral_calls, 'distance[ARGS]{"body": "Moon"}', [MOON]),
    "mistral's id": (read_mistral_calls, 'distance[CALL_ID]a1b2c3d4e[ARGS]{"body": "Moon"}', [MOON]),
    "mistral's bare name": (read_mistral_calls, 'distance{"body": "Moon"}', [MOON]),
    "gemma": (read_gemma_calls, "call:distance{body:<escape>Moon<escape>}", [MOON]),
    "gemma's values": (
        read_gemma_calls,
        "call:f{a:1,b:[true,null,{c:<escape>x, {y}<escape>}],d:{},e:[],f:-2.5}",
        [ToolCall("f", '{"a": 1, "b": [true, null, {"c": "x, {y}"}], "d": {}, "e": [], "f": -2.5}')],
    ),
    "deepseek": (
        read_deepseek_calls,
        f'{BEGIN}function{DEEPSEEK_BREAK}distance\n```json\n{{"body": "Moon"}}\n```{END}',
        [MOON],
    ),
    "deepseek's newer form": (
        read_deepseek_calls,
        f'{BEGIN}distance{DEEPSEEK_BREAK}{{"body": "Moon"}}{END}\n{BEGIN}now{DEEPSEEK_BREAK}{{}}{END}',
        [MOON, ToolCall("now", "{}")],
    ),
}
NOT_CALLS = {
    "nothing": "",
    "cut off": OBJECT[:-1],
    "another object": '{"name": "Ada", "age": 36}',
    "no name": '{"arguments": {}}',
    "arguments of another kind": '{"name": "f", "arguments": [1]}',
    "arguments twice": '{"name": "f", "arguments": {}, "parameters": {}}',
    "a number": "1",
    "text after it": OBJECT + " and more",
    "not a number": '{"name": "f", "arguments": {"x": NaN}}',
    "an infinite number": '{"name": "f", "arguments": {"x": 1e999}}',
    "half a character": '{"name": "f", "arguments": {"x": "\\ud83d"}}',
    "nested too deeply": '{"name": "f", "arguments": {"x": ' + "[" * 100_000 + "]" * 100_000 + "}}",
    "a number of many digits": '{"name": "f", "arguments": {"x": ' + "9" * 10_000 + "}}",
}
GEMMA_NOT_CALLS = {
    "no name": "call:{}",
    "cut off": "call:f{a:<escape>x",
    "no value": "call:f{a:,b:1}",
    "a word": "call:f{a:word}",
    "a name twice": "call:f{a:1,a:2}",
    "open": "call:f{a:[1,2}",
    "text after it": "call:f{} more",
    "nested too deeply": "call:f{a:" + "[" * 100_000,
}


@pytest.mark.parametrize("case", CASES)
def test_the_calls_of_a_family_are_read(case):
    read, text, expected = CASES[case]
    assert read(text) == expected


@pytest.mark.parametrize("case", NOT_CALLS)
@pytest.mark.parametrize("read", [read_json_calls, read_mistral_calls, read_gemma_calls, read_deepseek_calls])
def test_what_is_not_a_call_is_a_value_error(read: Callable[[str], list[ToolCall]], case):
    text = NOT_CALLS[case]
    if text or read is not read_mistral_calls:
        with pytest.raises(ValueError):
            read(text)


@pytest.mark.parametrize("case", GEMMA_NOT_CALLS)
def test_what_is_not_a_call_of_gemma_is_a_value_error(case):
    with pytest.raises(ValueError):
        read_gemma_calls(GEMMA_NOT_CALLS[case])
