"""The tools of a request are checked, and which of them the model may call is decided, before anything is computed."""

from __future__ import annotations

from typing import Any

import pytest

from slipway.rest.openai.errors import ApiError
from slipway.rest.openai.tools import MOST_TOOLS, ToolPlan, plan_tools


def tool(name: str = "distance", **others: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **others}}


FULL = tool(description="far", parameters={"type": "object"}, strict=True)
FORCED = {"type": "function", "function": {"name": "distance"}}


@pytest.mark.parametrize("choice", [None, "auto"])
def test_tools_are_shown_as_they_came(choice):
    assert plan_tools([FULL, tool("now")], choice, None) == ToolPlan(
        [FULL, tool("now")], frozenset({"distance", "now"})
    )


def test_without_tools_or_with_the_choice_none_there_is_nothing_to_show():
    for tools, choice in ((None, None), ([], "auto"), (None, "none"), ([FULL], "none")):
        assert plan_tools(tools, choice, True) == ToolPlan()


def test_a_call_can_be_required_of_any_function_or_of_one():
    given = [FULL, tool("now")]
    names = frozenset({"distance", "now"})
    assert plan_tools(given, "required", None) == ToolPlan(given, names, forced=names)
    assert plan_tools(given, "required", False).single
    assert plan_tools(given, FORCED, None) == ToolPlan(given, names, single=True, forced=frozenset({"distance"}))


def test_calls_may_be_limited_to_one():
    assert plan_tools([FULL], None, False).single
    assert not plan_tools([FULL], None, True).single


@pytest.mark.parametrize(
    ("tools", "choice", "parameter", "text"),
    [
        ("all", None, "tools", "expected a list"),
        ([7], None, "tools[0]", "expected an object"),
        ([tool()] * 2, None, "tools[1].function.name", "has the name 'distance', as 'tools[0]' has"),
        ([tool(f"f{n}") for n in range(MOST_TOOLS + 1)], None, "tools", "at most 128"),
        ([tool()] * 10_000, None, "tools", "10000 elements"),
        ([{"type": "custom", "function": {}}], None, "tools[0].type", "only 'function' is supported"),
        ([{"type": "function"}], None, "tools[0].function", "expected an object"),
        ([{**FULL, "functions": 1}], None, "tools[0]", "did you mean 'function'"),
        ([tool(parameter={})], None, "tools[0].function", "did you mean 'parameters'"),
        ([tool(parameters=[])], None, "tools[0].function.parameters", "expected an object"),
        ([tool(strict="yes")], None, "tools[0].function.strict", "expected true or false"),
        ([{"type": "function", "function": {}}], None, "tools[0].function.name", "Missing required parameter"),
        ([tool("a b")], None, "tools[0].function.name", "letters, digits"),
        ([tool("a" * 65)], None, "tools[0].function.name", "1 to 64"),
        ([tool("")], None, "tools[0].function.name", "1 to 64"),
        ([FULL], "auto ", "tool_choice", "did you mean 'auto'"),
        ([FULL], 7, "tool_choice", "expected 'none', 'auto'"),
        ([FULL], {"type": "allowed_tools"}, "tool_choice", "expected 'none', 'auto'"),
        (None, "required", "tool_choice", "without tools"),
        ([tool("distances")], FORCED, "tool_choice", "did you mean 'distances'"),
        (None, FORCED, "tool_choice", "the request has no tools"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tools: Any, choice: Any, parameter: str, text: str):
    with pytest.raises(ApiError) as caught:
        plan_tools(tools, choice, None)
    assert text in caught.value.message
    assert caught.value.parameter == parameter


def test_parallel_calls_are_allowed_or_not():
    with pytest.raises(ApiError, match="expected true or false"):
        plan_tools([FULL], None, 1)
