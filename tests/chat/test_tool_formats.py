"""The form of calls is recognised by what the chat templates of the families have in common."""

from __future__ import annotations

import pytest

from slipway.chat.tool_formats import TOOL_FORMATS, recognise_tool_format

BAR = "\N{FULLWIDTH VERTICAL LINE}"
TEMPLATES = {
    "hermes": 'return a json object within <tool_call></tool_call> tags:\n<tool_call>\n{"name": ...}\n</tool_call>',
    "mistral": '{{ "[TOOL_CALLS] [" }}{% for call in message["tool_calls"] %}',
    "granite": "respond with <|tool_call|> followed by a JSON list of tools used.",
    "phi4_mini_json": "{{ '<|' + message['role'] + '|>' + message['content'] + '<|tool|>' + message['tools'] }}",
    "functiongemma": "{{ '<start_function_call>call:' ~ call.name ~ '{' }}",
    "deepseek_v3": f"{{{{ '<{BAR}tool▁calls▁begin{BAR}><{BAR}tool▁call▁begin{BAR}>' }}}}",
    "llama3_json": "{{- '<|python_tag|>' + tool_call.name }}<|start_header_id|>",
}


@pytest.mark.parametrize("name", TOOL_FORMATS)
def test_each_family_is_recognised_by_its_template(name):
    assert recognise_tool_format({"default": TEMPLATES[name]}) == name


def test_llama_is_recognised_without_its_mark():
    template = """Respond in the format {"name": function name, "parameters": dictionary}.<|start_header_id|>"""
    assert recognise_tool_format({"default": template}) == "llama3_json"


@pytest.mark.parametrize("inside", ["<function=NAME>", "NAME\n<arg_key>"])
def test_other_forms_between_the_same_marks_are_not_taken_for_json(inside):
    assert recognise_tool_format({"default": f"<tool_call>{inside}</tool_call>"}) == ""


def test_the_template_for_tools_is_looked_at_first():
    both = {"default": TEMPLATES["hermes"], "tool_use": TEMPLATES["mistral"]}
    assert recognise_tool_format(both, "tool_use") == "mistral"
    assert recognise_tool_format(both) == "hermes"
    assert recognise_tool_format({"default": "{{ messages }}"}) == ""
