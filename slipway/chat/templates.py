"""The chat templates of a checkpoint as files, in the layout of Hugging Face: `chat_template.jinja` is the default one,
`additional_chat_templates/NAME.jinja` are others, and `special_tokens_map.json` has the tokens that they insert.

Knows no jinja2: a template is text here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from slipway.errors import SlipwayError, internal, invalid, shown
from slipway.foreign_json import parse_foreign, read_foreign_file
from slipway.nearest import nearest_or_all

DEFAULT: Final = "default"
FOR_TOOLS: Final = "tool_use"  # chosen by a conversation with tools
FILE: Final = "chat_template.jinja"
_OTHERS: Final = "additional_chat_templates"
_SUFFIX: Final = ".jinja"
_TOKENS: Final = "special_tokens_map.json"
_LARGEST: Final = 1 << 20  # bytes of a template


@dataclass(frozen=True, slots=True)
class ChatTemplates:
    """The templates by name, and the special tokens by the name that the templates know them by."""

    templates: Mapping[str, str] = field(default_factory=dict)
    tokens: Mapping[str, Any] = field(default_factory=dict)

    def chosen(self, name: str, *, tools: bool) -> str:
        """Return the template of that name, or for "" the one that suits a conversation with or without tools; raise
        INVALID_ARG naming the nearest one if it does not exist."""
        if not name:
            name = FOR_TOOLS if tools and FOR_TOOLS in self.templates else DEFAULT
        if name not in self.templates:
            raise invalid(f"the model has no chat template '{shown(name)}'{nearest_or_all(name, self.templates)}")
        return self.templates[name]


def read_templates(directory: Path, file: str = FILE) -> ChatTemplates | None:
    """Return the templates in a directory, None if it has none; raise `SlipwayError` naming what cannot be read."""
    default = directory / (file or FILE)
    others = sorted((directory / _OTHERS).glob(f"*{_SUFFIX}"))
    templates = {DEFAULT: _text(default)} if default.exists() else {}
    templates |= {path.stem: _text(path) for path in others}
    if not templates:
        return None
    tokens = parse_foreign(_text(directory / _TOKENS), _TOKENS) if (directory / _TOKENS).exists() else {}
    if not isinstance(tokens, dict):
        raise internal(f"'{_TOKENS}' of the model is not a JSON object")
    return ChatTemplates(templates, tokens)


def write_templates(directory: Path, chat: ChatTemplates) -> None:
    """Write the files that `read_templates` reads."""
    for name, text in chat.templates.items():
        path = directory / FILE if name == DEFAULT else directory / _OTHERS / f"{name}{_SUFFIX}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (directory / _TOKENS).write_text(json.dumps(dict(chat.tokens), ensure_ascii=False, indent=2), encoding="utf-8")


def _text(path: Path) -> str:
    try:
        data = read_foreign_file(path)
        text = data.decode()
    except UnicodeDecodeError:
        raise internal(f"'{path.name}' of the model is not valid UTF-8") from None
    except SlipwayError as error:
        raise internal(f"'{path.name}' of the model cannot be read") from error
    if len(data) > _LARGEST:
        raise internal(f"'{path.name}' of the model has more than {_LARGEST >> 20} MiB")
    return text
