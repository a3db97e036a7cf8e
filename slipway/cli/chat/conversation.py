"""What has been said in a chat, and the request for the next answer. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

_USUAL_TOKENS = 256  # of a continued text, for which servers have a small default


@dataclass(slots=True)
class Conversation:
    """The messages of a chat with a model, in OpenAI's form. `fields` are those that every request has. With
    `remembers` off, each text is continued by itself."""

    model: str
    fields: Mapping[str, Any]
    system: str = ""
    remembers: bool = True
    context: int = 0  # tokens of prompt and answer, 0 if unknown
    messages: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything but the system message."""
        self.messages = [{"role": "system", "content": self.system}] if self.system else []

    @property
    def path(self) -> str:
        """The route of the next request."""
        return "v1/chat/completions" if self.remembers else "v1/completions"

    def request(self, text: str) -> dict[str, Any]:
        """Return the body of the request that follows a text of the user."""
        common = {"model": self.model, "stream": True, **self.fields}
        if self.remembers:
            return {**common, "messages": [*self.messages, {"role": "user", "content": text}]}
        room = min(_USUAL_TOKENS, self.context // 2) if self.context > 1 else _USUAL_TOKENS
        return {"max_tokens": room, **common, "prompt": text}

    def add(self, text: str, answer: str) -> None:
        """Remember a text of the user and what was answered, which may have been stopped."""
        self.messages += [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]

    def document(self) -> bytes:
        """Return the chat as JSON, in the form of a request."""
        return orjson.dumps({"model": self.model, "messages": self.messages}, option=orjson.OPT_INDENT_2) + b"\n"


def piece_of(event: Mapping[str, Any]) -> str:
    """Return the text in a chunk of either route, "" if it has none."""
    choices = event.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        return ""
    delta = choice.get("delta")
    text = delta.get("content") if isinstance(delta, dict) else choice.get("text")
    return text if isinstance(text, str) else ""
