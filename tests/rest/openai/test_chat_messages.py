"""Messages in OpenAI's form become those that chat templates take; what is wrong has a place."""

from __future__ import annotations

from typing import Any

import pytest

from slipway.rest.openai.chat_messages import conversation, template_variables
from slipway.rest.openai.errors import ApiError

CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"role": "user", "content": "a"}, {"role": "user", "content": "a"}),
        ({"role": "developer", "content": "a"}, {"role": "system", "content": "a"}),
        (
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "user", "content": "a\nb"},
        ),
        ({"role": "user", "content": "a", "name": "Ann"}, {"role": "user", "content": "a", "name": "Ann"}),
        (
            {"role": "assistant", "content": "a", "refusal": None, "annotations": [], "audio": None},
            {"role": "assistant", "content": "a"},
        ),
        (
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{**CALL, "function": {"name": "f", "arguments": {"x": 1}}}],
            },
        ),
        ({"role": "assistant", "content": None, "refusal": "no"}, {"role": "assistant", "content": "no"}),
        (
            {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "no"}]},
            {"role": "assistant", "content": "a\nno"},
        ),
        (
            {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "42"}]},
            {"role": "tool", "content": "42", "tool_call_id": "1"},
        ),
        (
            {"role": "tool", "tool_call_id": "1", "content": "42"},
            {"role": "tool", "content": "42", "tool_call_id": "1"},
        ),
    ],
)
def test_a_message_is_passed_on_in_the_form_of_templates(message, expected):
    assert conversation([message]) == [expected]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("hello", "'messages[0]': expected an object"),
        ({"content": "a"}, "'messages[0].role' must be one of"),
        ({"role": ["user"], "content": "a"}, "'messages[0].role' must be one of"),
        ({"role": "users", "content": "a"}, "'messages[0].role' must be one of"),
        ({"role": "user"}, "Missing required parameter: 'messages[0].content'"),
        ({"role": "user", "content": 7}, "'messages[0].content': expected a text or a list of parts"),
        ({"role": "user", "contents": "a", "content": "a"}, "did you mean 'content'"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}, "type 'image_url'"),
        ({"role": "user", "content": [{"type": "text"}]}, "'messages[0].content[0].text' must be a text"),
        ({"role": "user", "content": ["a"]}, "has the type 'None'"),
        ({"role": "user", "content": "a", "name": 7}, "'messages[0].name': expected a text"),
        ({"role": "assistant", "tool_calls": [{"function": 7}]}, "tool_calls[0].function' must be an object"),
        ({"role": "assistant", "tool_calls": [{**CALL, "idx": 7}]}, "did you mean 'id'"),
        ({"role": "user", "content": "a", "tool_calls": [CALL]}, "only the role assistant may have it"),
        ({"role": "user", "content": "a", "refusal": "no"}, "only the role assistant may have it"),
        ({"role": "user", "content": [{"type": "refusal", "refusal": "no"}]}, "has the type 'refusal'"),
        ({"role": "assistant", "refusal": 7}, "'messages[0].refusal': expected a text"),
    ],
)
def test_what_is_wrong_with_a_message_is_said_with_its_place(message: Any, text: str):
    with pytest.raises(ApiError) as caught:
        conversation([message])
    assert text in caught.value.message
    assert str(caught.value.parameter).startswith("messages")


def test_a_conversation_has_at_least_one_message_and_not_too_many():
    for messages in ([], [{"role": "user", "content": "a"}] * 2049):
        with pytest.raises(ApiError):
            conversation(messages)


def test_variables_of_a_request_do_not_replace_its_fields():
    assert template_variables({"enable_thinking": False}) == {"enable_thinking": False}
    with pytest.raises(ApiError, match="must not set 'messages'"):
        template_variables({"messages": []})
