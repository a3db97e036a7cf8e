"""Messages of a conversation, from OpenAI's form to the one that chat templates take.

Pure. Contents become texts, the arguments of tool calls objects, and the role `developer` the role `system`, as the
templates know them. URLs are never fetched: only parts of type text are read. Source: OpenAI's API reference, "Create
chat completion"; transformers, "Chat templates".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from slipway.errors import shown
from slipway.nearest import nearest_or_all
from slipway.rest.openai.errors import ApiError

_MOST_MESSAGES: Final = 2048
_ROLES: Final = ("system", "developer", "user", "assistant", "tool")
_OTHER_ROLE: Final = {"developer": "system"}
# Members that templates read; null counts as absent.
_TEXTS: Final = ("name", "tool_call_id", "reasoning_content", "reasoning", "thinking")
_REFUSAL: Final = "refusal"  # of the assistant, in place of a content
_KNOWN: Final = ("role", "content", "tool_calls", _REFUSAL, *_TEXTS)
# Members of answers, which clients send back as part of the conversation: read over if they are empty.
_PASSED_OVER: Final = ("annotations", "audio", "function_call", "logprobs")
_OF_CALLS: Final = ("id", "type", "function", "index")
_RESERVED: Final = ("messages", "tools", "documents", "add_generation_prompt")


def conversation(messages: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the messages for a template; raise `ApiError` naming the place of what is wrong."""
    if not messages:
        raise ApiError("'messages' must not be empty.", "messages")
    if len(messages) > _MOST_MESSAGES:
        raise ApiError(f"'messages' has {len(messages)} elements, but at most {_MOST_MESSAGES} are read.", "messages")
    return [_message(message, f"messages[{place}]") for place, message in enumerate(messages)]


def template_variables(extra: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the variables that a request adds itself; raise `ApiError` for one that it may not set so."""
    for name in extra or {}:
        if name in _RESERVED:
            raise ApiError(f"'chat_template_kwargs' must not set '{name}', a field of its own.", "chat_template_kwargs")
    return extra or {}


def _message(message: Any, where: str) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise ApiError(f"Invalid type for '{where}': expected an object.", where, kind="invalid_type")
    given = {name: value for name, value in message.items() if value is not None}
    for name, value in given.items():
        if name not in _KNOWN and not (name in _PASSED_OVER and not value):
            near = nearest_or_all(name, _KNOWN)
            raise ApiError(f"Unrecognized member '{shown(name)}' in '{where}'{near}", where, kind="unknown_parameter")
    role = given.get("role")
    if role not in _ROLES:
        raise ApiError(f"'{where}.role' must be one of {', '.join(_ROLES)}.", f"{where}.role", kind="invalid_value")
    found: dict[str, Any] = {"role": _OTHER_ROLE.get(role, role)}
    calls = given.get("tool_calls")
    for name in ("tool_calls", _REFUSAL):
        if given.get(name) and role != "assistant":
            raise ApiError(f"'{where}' has '{name}', but only the role assistant may have it.", f"{where}.{name}")
    found["content"] = _spoken(given, where, refusable=role == "assistant")
    for name in _TEXTS:
        if name in given:
            if not isinstance(given[name], str):
                raise ApiError(f"Invalid type for '{where}.{name}': expected a text.", where, kind="invalid_type")
            found[name] = given[name]
    if calls:
        found["tool_calls"] = _calls(calls, f"{where}.tool_calls")
    return found


def _spoken(given: Mapping[str, Any], where: str, *, refusable: bool) -> str:
    """Return the text of a message: its content or, of the assistant's, what it refused with or did instead."""
    if "content" in given:
        return _content(given["content"], f"{where}.content", refusable=refusable)
    if given.get(_REFUSAL):
        if not isinstance(given[_REFUSAL], str):
            raise ApiError(f"Invalid type for '{where}.refusal': expected a text.", where, kind="invalid_type")
        return str(given[_REFUSAL])
    if given.get("tool_calls"):
        return ""
    raise ApiError(f"Missing required parameter: '{where}.content'.", f"{where}.content")


def _content(content: Any, where: str, *, refusable: bool) -> str:
    """Return the text of a content, which may be in parts; the assistant's may have refusals among them."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise ApiError(f"Invalid type for '{where}': expected a text or a list of parts.", where, kind="invalid_type")
    texts = []
    for place, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" and not (refusable and kind == _REFUSAL):
            raise ApiError(
                f"'{where}[{place}]' has the type '{shown(kind)}', but this model only reads parts of type 'text'.",
                where,
                kind="invalid_value",
            )
        if not isinstance(part.get(kind), str):
            raise ApiError(f"'{where}[{place}].{kind}' must be a text.", where, kind="invalid_type")
        texts.append(part[kind])
    return "\n".join(texts)


def _calls(calls: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(calls, list):
        raise ApiError(f"Invalid type for '{where}': expected a list.", where, kind="invalid_type")
    found = []
    for place, call in enumerate(calls):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise ApiError(f"'{where}[{place}].function' must be an object with a name.", where, kind="invalid_type")
        for name in call:
            if name not in _OF_CALLS:
                near = nearest_or_all(name, _OF_CALLS)
                place_of = f"{where}[{place}]"
                raise ApiError(
                    f"Unrecognized member '{shown(name)}' in '{place_of}'{near}", place_of, kind="unknown_parameter"
                )
        found.append({**call, "function": {**function, "arguments": _arguments(function.get("arguments"))}})
    return found


def _arguments(arguments: Any) -> Any:
    """Return the arguments of a call, which OpenAI writes as JSON in a text and templates take as an object."""
    if not isinstance(arguments, str):
        return arguments
    try:
        value = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
    return value if isinstance(value, dict) else arguments
