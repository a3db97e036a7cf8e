"""The documents of OpenAI's two forms of an answer: completions and chats, whole and in chunks. Pure.

Source: openai-openapi, `CreateCompletionResponse`, `CreateChatCompletionResponse` and
`CreateChatCompletionStreamResponse`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

Document = dict[str, Any]
Logprobs = Sequence[Mapping[str, Any]] | None  # tokens as `runtime/completion_model.py` reports them


class AnswerForm(Protocol):
    """One of the two forms."""

    @property
    def prefix(self) -> str:
        """The beginning of ids."""

    @property
    def whole(self) -> str:
        """The kind of a complete answer."""

    @property
    def chunk(self) -> str:
        """The kind of a chunk."""

    def choice(self, index: int, text: str, logprobs: Logprobs, reason: str) -> Document:
        """Return a complete choice."""

    def opening(self, index: int) -> Document | None:
        """Return what a stream says before the first text of a choice, if anything."""

    def pieces(self, index: int, text: str, logprobs: Logprobs, reason: str | None) -> list[Document]:
        """Return the choices of the chunks for a piece of text, the last one if there is a `reason`."""


class CompletionForm:
    """The form of /v1/completions."""

    prefix: Final = "cmpl-"
    whole: Final = "text_completion"
    chunk: Final = "text_completion"

    def choice(self, index: int, text: str, logprobs: Logprobs, reason: str | None) -> Document:
        """Return a choice."""
        return {"index": index, "text": text, "logprobs": _columns(logprobs), "finish_reason": reason}

    def opening(self, index: int) -> Document | None:  # noqa: ARG002  the other form's
        """Return nothing."""
        return None

    def pieces(self, index: int, text: str, logprobs: Logprobs, reason: str | None) -> list[Document]:
        """Return one choice."""
        return [self.choice(index, text, logprobs, reason)]


class ChatForm:
    """The form of /v1/chat/completions."""

    prefix: Final = "chatcmpl-"
    whole: Final = "chat.completion"
    chunk: Final = "chat.completion.chunk"

    def choice(self, index: int, text: str, logprobs: Logprobs, reason: str) -> Document:
        """Return a choice."""
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"index": index, "message": message, "logprobs": chat_entries(logprobs), "finish_reason": reason}

    def opening(self, index: int) -> Document | None:
        """Return the role."""
        return chat_delta(index, {"role": "assistant", "content": ""}, None, None)

    def pieces(self, index: int, text: str, logprobs: Logprobs, reason: str | None) -> list[Document]:
        """Return the text, and the reason apart from it."""
        found = [chat_delta(index, {"content": text}, logprobs, None)] if text or logprobs else []
        return [*found, chat_delta(index, {}, None, reason)] if reason else found


@dataclass(frozen=True, slots=True)
class AnswerIdentity:
    """What all documents of one answer have in common."""

    identifier: str
    created: int
    model: str

    @classmethod
    def new(cls, form: AnswerForm, model: str) -> AnswerIdentity:
        """Return the head of a new answer."""
        return cls(form.prefix + secrets.token_hex(12), int(time.time()), model)

    def document(self, kind: str, choices: Sequence[object]) -> Document:
        """Return a document, which may be completed."""
        return {
            "id": self.identifier,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }


def chat_delta(index: int, delta: Document, logprobs: Logprobs, reason: str | None) -> Document:
    """Return the choice of a chunk."""
    return {"index": index, "delta": delta, "logprobs": chat_entries(logprobs), "finish_reason": reason}


def chat_entries(logprobs: Logprobs) -> Document | None:
    """Return the log-probabilities of a choice."""
    if logprobs is None:
        return None
    tokens = [
        {
            "token": each["token"],
            "logprob": each["logprob"],
            "bytes": each["bytes"],
            "top_logprobs": each["top"],
        }
        for each in logprobs
    ]
    return {"content": tokens, "refusal": None}


def _columns(logprobs: Logprobs) -> Document | None:
    if logprobs is None:
        return None
    return {
        "tokens": [_name(each) for each in logprobs],
        "token_logprobs": [each["logprob"] for each in logprobs],
        # The token itself is there too, even if it is not among the best.
        "top_logprobs": [{_name(one): one["logprob"] for one in (*each["top"], each)} for each in logprobs],
        "text_offset": [each["offset"] for each in logprobs],
    }


def _name(token: Mapping[str, Any]) -> str:
    """Return a token as a text; part of a character as OpenAI writes it, so that it differs from other parts."""
    data = bytes(token["bytes"])
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
