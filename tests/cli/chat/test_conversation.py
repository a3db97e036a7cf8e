"""The requests of a chat: with history, or for one text at a time."""

from __future__ import annotations

import json

import pytest

from slipway.cli.chat.conversation import Conversation, piece_of


def test_a_request_has_what_was_said_and_the_settings():
    chat = Conversation("m", {"temperature": 0.5}, system="be brief")
    chat.add("a", "b")
    assert chat.request("c") == {
        "model": "m",
        "stream": True,
        "temperature": 0.5,
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"},
        ],
    }
    assert chat.path == "v1/chat/completions"
    chat.reset()
    assert [message["role"] for message in chat.request("c")["messages"]] == ["system", "user"]
    assert json.loads(chat.document()) == {"model": "m", "messages": [{"role": "system", "content": "be brief"}]}


@pytest.mark.parametrize(("context", "room"), [(0, 256), (100, 50), (10_000, 256)])
def test_a_text_is_continued_within_the_room_of_the_model(context, room):
    chat = Conversation("m", {}, remembers=False, context=context)
    assert chat.request("a") == {"model": "m", "stream": True, "prompt": "a", "max_tokens": room}
    assert Conversation("m", {"max_tokens": 3}, remembers=False).request("a")["max_tokens"] == 3
    assert chat.path == "v1/completions"


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ({"choices": [{"delta": {"content": "a"}}]}, "a"),
        ({"choices": [{"text": "b"}]}, "b"),
        ({"choices": [{"delta": {"role": "assistant"}}]}, ""),
        ({"choices": []}, ""),
        ({"choices": [7]}, ""),
        ({"choices": [{"text": 7}]}, ""),
        ({}, ""),
    ],
)
def test_the_text_of_a_chunk_is_found_on_both_routes(event, text):
    assert piece_of(event) == text
