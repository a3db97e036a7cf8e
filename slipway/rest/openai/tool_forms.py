"""The documents of a chat whose model may call tools: content and calls apart, whole and in chunks. Pure.

Source: openai-openapi, `ChatCompletionMessageToolCall` and `ChatCompletionMessageToolCallChunk`.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from slipway.chat.call_syntax import ToolCall
from slipway.chat.tool_formats import ToolFormat
from slipway.rest.openai.completion_forms import ChatForm, Document, Logprobs, chat_delta, chat_entries
from slipway.rest.openai.tool_reader import Item, ToolCallReader
from slipway.rest.openai.tools import ToolPlan

_CALLED = "tool_calls"  # the finish reason
_PIECE = 64  # characters of the arguments in one chunk


class ToolChatForm(ChatForm):
    """The form of one request to /v1/chat/completions with tools."""

    def __init__(self, form: ToolFormat, plan: ToolPlan) -> None:
        self._form = form
        self._plan = plan
        self._streams: dict[int, _Stream] = {}

    def choice(self, index: int, text: str, logprobs: Logprobs, reason: str) -> Document:
        """Return a choice."""
        reader = self._reader()
        found = [*reader.push(text), *reader.rest()]
        calls = [self._document(each) for each in found if isinstance(each, ToolCall)]
        content = "".join(each for each in found if isinstance(each, str))
        message: Document = {"role": "assistant", "content": content or None if calls else content, "refusal": None}
        if calls:
            message["tool_calls"] = calls
        reason = _reason(reason, called=bool(calls))
        return {"index": index, "message": message, "logprobs": chat_entries(logprobs), "finish_reason": reason}

    def pieces(self, index: int, text: str, logprobs: Logprobs, reason: str | None) -> list[Document]:
        """Return the content and the calls that a piece of text completes, and the reason apart from them."""
        stream = self._streams.get(index)
        if stream is None:
            stream = self._streams[index] = _Stream(self._reader())
        items = [*stream.reader.push(text), *(stream.reader.rest() if reason else ())]
        deltas = self._deltas(stream, items)
        if logprobs and not deltas:
            deltas = [{"content": ""}]  # of tokens whose text is held back
        found = [chat_delta(index, delta, None if place else logprobs, None) for place, delta in enumerate(deltas)]
        if reason:
            found.append(chat_delta(index, {}, None, _reason(reason, called=bool(stream.calls))))
        return found

    def _deltas(self, stream: _Stream, items: Sequence[Item]) -> list[Document]:
        deltas: list[Document] = []
        for item in items:
            if isinstance(item, str):
                deltas.append({"content": item})
                continue
            number, stream.calls = stream.calls, stream.calls + 1
            opening = self._document(item)
            opening["function"]["arguments"] = ""
            deltas.append({"tool_calls": [{"index": number, **opening}]})
            deltas += [
                {"tool_calls": [{"index": number, "function": {"arguments": item.arguments[start : start + _PIECE]}}]}
                for start in range(0, len(item.arguments), _PIECE)
            ]
        return deltas

    def _document(self, call: ToolCall) -> Document:
        identifier = secrets.token_hex(5)[:9] if self._form.plain_ids else f"call_{secrets.token_hex(12)}"
        return {
            "id": identifier,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }

    def _reader(self) -> ToolCallReader:
        return ToolCallReader(self._form, self._plan.names, 1 if self._plan.single else None)


class _Stream:
    """What has come of one choice."""

    def __init__(self, reader: ToolCallReader) -> None:
        self.reader = reader
        self.calls = 0


def _reason(reason: str, *, called: bool) -> str:
    return _CALLED if called and reason == "stop" else reason
