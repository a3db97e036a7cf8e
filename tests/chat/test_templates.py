"""The chat templates of a model directory: read back as written, chosen by name or by whether there are tools."""

from __future__ import annotations

import pytest

from slipway.chat.templates import ChatTemplates, read_templates, write_templates
from slipway.errors import Code, SlipwayError

CHAT = ChatTemplates({"default": "a\r\n{{ x }}", "tool_use": "tools", "rag": "ü"}, {"bos_token": "<s>"})


def test_templates_are_read_as_they_were_written(tmp_path):
    write_templates(tmp_path, CHAT)
    assert read_templates(tmp_path) == CHAT
    assert read_templates(tmp_path / "additional_chat_templates") is None


def test_a_conversation_with_tools_has_the_template_for_tools_unless_it_names_another():
    assert CHAT.chosen("", tools=False) == "a\r\n{{ x }}"
    assert CHAT.chosen("", tools=True) == "tools"
    assert CHAT.chosen("rag", tools=True) == "ü"
    assert ChatTemplates({"default": "d"}).chosen("", tools=True) == "d"


@pytest.mark.parametrize(
    ("name", "message"),
    [("tool-use", "no chat template 'tool-use'; did you mean 'tool_use'"), ("{{ x }}", "expected one of default")],
)
def test_an_unknown_template_is_refused_with_the_known_ones(name, message):
    with pytest.raises(SlipwayError, match=message) as caught:
        CHAT.chosen(name, tools=False)
    assert caught.value.code is Code.INVALID_ARG


def test_a_file_that_cannot_be_read_is_the_fault_of_the_server(tmp_path):
    write_templates(tmp_path, CHAT)
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(SlipwayError, match="is not valid UTF-8") as caught:
        read_templates(tmp_path)
    assert caught.value.code is Code.INTERNAL
    (tmp_path / "chat_template.jinja").write_text("x")
    (tmp_path / "special_tokens_map.json").write_text("[]")
    with pytest.raises(SlipwayError, match="is not a JSON object"):
        read_templates(tmp_path)
