"""A chat with calls of tools in OpenAI's documents: whole and in chunks, which say the same."""

from __future__ import annotations

import json
from typing import Any

from slipway.chat.tool_formats import TOOL_FORMATS
from slipway.rest.openai.tool_forms import ToolChatForm
from slipway.rest.openai.tools import ToolPlan

LONG = json.dumps({"text": "x" * 150})
SAY = f'<tool_call>\n{{"name": "say", "arguments": {LONG}}}\n</tool_call>'
TEXT = f'Wait.\n{SAY}\n<tool_call>{{"name": "now"}}</tool_call>'
ENTRY = {"token": "a", "logprob": -1.0, "bytes": [97], "top": [], "offset": 0}


def form(name: str = "hermes", **settings: Any) -> ToolChatForm:
    return ToolChatForm(TOOL_FORMATS[name], ToolPlan([{}], frozenset({"say", "now"}), **settings))


def joined(chunks: list[dict[str, Any]]) -> tuple[str, dict[int, dict[str, Any]], str]:
    """Return the content, the calls and the finish reason of chunks, put together as clients do."""
    content, calls = "", {}
    for chunk in chunks:
        content += chunk["delta"].get("content", "")
        for call in chunk["delta"].get("tool_calls", ()):
            found = calls.setdefault(call["index"], {"arguments": ""})
            found |= {key: call[key] for key in ("id", "type") if key in call}
            found["name"] = call["function"].get("name", found.get("name"))
            found["arguments"] += call["function"]["arguments"]
    return content, calls, chunks[-1]["finish_reason"]


def test_a_whole_answer_has_content_and_calls_apart():
    choice = form().choice(0, TEXT, None, "stop")
    assert choice["finish_reason"] == "tool_calls"
    message = choice["message"]
    assert message["content"] == "Wait."
    assert [call["type"] for call in message["tool_calls"]] == ["function"] * 2
    assert [call["function"]["name"] for call in message["tool_calls"]] == ["say", "now"]
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == json.loads(LONG)
    assert len({call["id"] for call in message["tool_calls"]}) == 2


def test_an_answer_of_calls_alone_has_no_content_and_one_without_calls_is_usual():
    called = form().choice(0, '<tool_call>{"name": "now"}</tool_call>', None, "stop")
    assert called["message"]["content"] is None
    plain = form().choice(0, "It is late.", None, "stop")
    assert plain["message"] == {"role": "assistant", "content": "It is late.", "refusal": None}
    assert plain["finish_reason"] == "stop"
    assert form().choice(0, "", None, "stop")["message"]["content"] == ""


def test_chunks_say_the_same_with_arguments_in_pieces():
    streaming = form()
    chunks = [chunk for letter in TEXT for chunk in streaming.pieces(0, letter, None, None)]
    chunks += streaming.pieces(0, "", None, "stop")
    content, calls, reason = joined(chunks)
    assert (content, reason) == ("Wait.", "tool_calls")
    assert [calls[place]["name"] for place in sorted(calls)] == ["say", "now"]
    assert json.loads(calls[0]["arguments"]) == json.loads(LONG)
    assert len([chunk for chunk in chunks if chunk["delta"].get("tool_calls", [{}])[0].get("index") == 0]) > 3
    assert all("id" in calls[place] for place in calls)


def test_choices_of_one_answer_are_read_apart():
    streaming = form()
    half = len(TEXT) // 2
    first = streaming.pieces(0, TEXT[:half], None, None)
    second = streaming.pieces(1, "Only text.", None, "stop")
    first += streaming.pieces(0, TEXT[half:], None, "stop")
    assert joined(first)[2] == "tool_calls"
    assert joined(second) == ("Only text.", {}, "stop")


def test_an_answer_that_was_cut_off_says_so_although_it_has_calls():
    text = '<tool_call>{"name": "now"}</tool_call><tool_call>{"na'
    choice = form().choice(0, text, None, "length")
    assert choice["finish_reason"] == "length"
    assert choice["message"]["content"] == '<tool_call>{"na'
    assert len(choice["message"]["tool_calls"]) == 1


def test_log_probabilities_come_with_their_chunk_even_if_its_text_is_held_back():
    streaming = form()
    (chunk,) = streaming.pieces(0, "<tool", [ENTRY], None)
    assert [token["bytes"] for token in chunk["logprobs"]["content"]] == [[97]]
    assert chunk["delta"] == {"content": ""}
    chunks = streaming.pieces(0, '_call>{"name": "now"}</tool_call>', [ENTRY], None)
    assert [each["logprobs"] is not None for each in chunks] == [True, False]


def test_ids_are_those_that_the_family_takes():
    call = form("mistral").choice(0, '[TOOL_CALLS][{"name": "now", "arguments": {}}]', None, "stop")
    identifier = call["message"]["tool_calls"][0]["id"]
    assert len(identifier) == 9
    assert identifier.isalnum()
