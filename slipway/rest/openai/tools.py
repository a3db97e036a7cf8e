"""The tools of a request: checked, and which of them the model may call.

Pure. Source: OpenAI's API reference, "Create chat completion": `tools`, `tool_choice`, `parallel_tool_calls`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from slipway.errors import shown
from slipway.nearest import nearest_or_all
from slipway.rest.openai.errors import ApiError

MOST_TOOLS: Final = 128  # as at OpenAI
_LONGEST_NAME: Final = 64
_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_MEMBERS: Final = ("type", "function")
_FUNCTION: Final[dict[str, tuple[type, str]]] = {
    "name": (str, "a text"),
    "description": (str, "a text"),
    "parameters": (dict, "an object"),
    "strict": (bool, "true or false"),  # accepted without effect: arguments are not held to their schema
}
_CHOICE: Final = "tool_choice"
_CHOICES: Final = ("none", "auto", "required")


@dataclass(frozen=True, slots=True)
class ToolPlan:
    """What is shown to the model, as it came, and the names of the functions. With `single`, only the first call
    counts. The text has to be calls of those in `forced`, if there are any."""

    shown: Sequence[dict[str, Any]] = ()
    names: frozenset[str] = frozenset()
    single: bool = False
    forced: frozenset[str] = frozenset()


def plan_tools(tools: Any, choice: Any, parallel: Any) -> ToolPlan:
    """Return the plan for these three fields of a body; raise `ApiError` naming the place of what is wrong."""
    if parallel is not None and not isinstance(parallel, bool):
        raise _wrong_type("parallel_tool_calls", "true or false")
    given = _checked(tools)
    names = frozenset(each["function"]["name"] for each in given)
    if choice == "none" or (choice in (None, "auto") and not given):
        return ToolPlan()
    forced = frozenset[str]() if choice in (None, "auto") else _forced(choice, names)
    single = parallel is False or isinstance(choice, dict)
    return ToolPlan(given, names, single=single, forced=forced)


def _checked(tools: Any) -> Sequence[dict[str, Any]]:
    if tools is None:
        return ()
    if not isinstance(tools, list):
        raise _wrong_type("tools", "a list")
    if len(tools) > MOST_TOOLS:
        raise ApiError(
            f"'tools' has {len(tools)} elements, but at most {MOST_TOOLS} are allowed.",
            "tools",
            kind="array_above_max_length",
        )
    places: dict[str, str] = {}
    for place, tool in enumerate(tools):
        where = f"tools[{place}]"
        name = _name(tool, where)
        if name in places:
            raise ApiError(f"'{where}' has the name '{name}', as '{places[name]}' has.", f"{where}.function.name")
        places[name] = where
    return tools


def _name(tool: Any, where: str) -> str:
    """Return the name of a tool, after checking all of it."""
    if not isinstance(tool, dict):
        raise _wrong_type(where, "an object")
    _check_members(tool, _MEMBERS, where)
    if tool.get("type") != "function":
        kind = shown(tool.get("type"))
        raise ApiError(
            f"'{where}.type' is '{kind}', but only 'function' is supported.", f"{where}.type", kind="invalid_value"
        )
    function, where = tool.get("function"), f"{where}.function"
    if not isinstance(function, dict):
        raise _wrong_type(where, "an object")
    _check_members(function, tuple(_FUNCTION), where)
    for member, (kind_of, expected) in _FUNCTION.items():
        value = function.get(member)
        if value is not None and not isinstance(value, kind_of):
            raise _wrong_type(f"{where}.{member}", expected)
    name = function.get("name")
    if name is None:
        raise ApiError(
            f"Missing required parameter: '{where}.name'.", f"{where}.name", kind="missing_required_parameter"
        )
    _check_name(name, f"{where}.name")
    return str(name)


def _check_members(value: dict[str, Any], known: Sequence[str], where: str) -> None:
    for name in value:
        if name not in known:
            near = nearest_or_all(name, known)
            raise ApiError(f"Unrecognized member '{shown(name)}' in '{where}'{near}", where, kind="unknown_parameter")


def _check_name(name: str, where: str) -> None:
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        raise ApiError(
            f"'{where}' is '{shown(name)}': expected 1 to {_LONGEST_NAME} letters, digits, '_' and '-'.",
            where,
            kind="invalid_value",
        )


def _forced(choice: Any, names: frozenset[str]) -> frozenset[str]:
    """Return the functions of which the model has to call one; raise `ApiError` for a choice that is unknown or not
    possible."""
    if choice == "required":
        if not names:
            raise ApiError(
                "'tool_choice' is not supported as 'required' without tools.", _CHOICE, kind="unsupported_parameter"
            )
        return names
    function = choice.get("function") if isinstance(choice, dict) and choice.get("type") == "function" else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        near = nearest_or_all(choice, _CHOICES) if isinstance(choice, str) else ""
        raise ApiError(
            "Invalid value for 'tool_choice': expected 'none', 'auto', 'required' or "
            f'{{"type": "function", "function": {{"name": ...}}}}{near}',
            _CHOICE,
            kind="invalid_value",
        )
    name = function["name"]
    if name not in names:
        known = nearest_or_all(name, names) if names else ": the request has no tools"
        raise ApiError(f"'tool_choice' names the unknown function '{shown(name)}'{known}", _CHOICE)
    return frozenset((name,))


def _wrong_type(where: str, expected: str) -> ApiError:
    return ApiError(f"Invalid type for '{where}': expected {expected}.", where, kind="invalid_type")
