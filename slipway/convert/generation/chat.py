"""The chat templates of a checkpoint: copied for serving, if they give the texts that they give in transformers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, Final

from slipway.chat.renderer import TemplateRenderer
from slipway.chat.templates import DEFAULT, FOR_TOOLS, ChatTemplates
from slipway.chat.tool_formats import recognise_tool_format
from slipway.config.purpose import TOOL_CALLS
from slipway.errors import SlipwayError, shown

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # becomes the name of a file
_USER: Final = {"role": "user", "content": "How far is the Moon?"}
_TOOL: Final = {
    "type": "function",
    "function": {
        "name": "distance",
        "description": "Distance to a body",
        "parameters": {"type": "object", "properties": {"body": {"type": "string"}}, "required": ["body"]},
    },
}
# Conversations that both render; a template may refuse some of them, such as those with a system message.
_CONVERSATIONS: Final[Sequence[Mapping[str, Any]]] = (
    {"messages": [_USER], "add_generation_prompt": True},
    {"messages": [_USER, {"role": "assistant", "content": "Far."}, _USER], "add_generation_prompt": True},
    {"messages": [{"role": "system", "content": 'Be <brief> & "kind".'}, _USER], "add_generation_prompt": False},
    {"messages": [_USER], "add_generation_prompt": True, "tools": [_TOOL]},
)


def copied_templates(reference: Any) -> tuple[ChatTemplates | None, list[str]]:
    """Return the templates of a tokenizer of transformers that can be served, None if there are none, and a note for
    each that cannot."""
    given = reference.chat_template
    found = given if isinstance(given, dict) else {DEFAULT: given} if isinstance(given, str) and given else {}
    tokens = dict(reference.special_tokens_map)
    notes: list[str] = []
    templates: dict[str, str] = {}
    with closing(TemplateRenderer()) as renderer:
        for name, template in found.items():
            problem = _problem(renderer, reference, str(template), tokens) if _NAME.fullmatch(name) else "of its name"
            if problem:
                notes.append(f"the chat template '{shown(name)}' is not served because {problem}")
            else:
                templates[name] = str(template)
    return (ChatTemplates(templates, tokens) if templates else None), notes


def tool_notes(chat: ChatTemplates | None) -> list[str]:
    """Return a note if the templates show tools to the model, but its calls are not recognised."""
    if chat is None or recognise_tool_format(chat.templates, FOR_TOOLS):
        return []
    if not any("tools" in template for template in chat.templates.values()):
        return []
    unknown = "tools are shown to the model, but the form of its calls is not known, so calls stay text"
    return [f"{unknown}: the parameter {TOOL_CALLS} of config.pbtxt names a form"]


def _problem(renderer: TemplateRenderer, reference: Any, template: str, tokens: Mapping[str, Any]) -> str:
    """Return why the template cannot be served, "" if it can."""
    compared = 0
    for conversation in _CONVERSATIONS:
        expected = _expected(reference, template, conversation)
        if expected is None:
            continue
        try:
            found = renderer.render(template, {**tokens, "tools": None, "documents": None, **conversation})
        except SlipwayError as error:
            return f"it fails: {error.message}"
        if found != expected:
            return f"it gives {shown(repr(found))}, but in transformers {shown(repr(expected))}"
        compared += 1
    return "" if compared else "transformers cannot render any conversation with it"


def _expected(reference: Any, template: str, conversation: Mapping[str, Any]) -> str | None:
    """Return the text in transformers, None if the template refuses the conversation there."""
    settings = {key: value for key, value in conversation.items() if key != "messages"}
    try:
        text: str = reference.apply_chat_template(
            conversation["messages"], chat_template=template, tokenize=False, **settings
        )
    except Exception:  # noqa: BLE001  a template may raise anything
        return None
    return text
