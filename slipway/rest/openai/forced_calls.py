"""The grammar of a text that has to be calls of tools, for `tool_choice`: one JSON object per call, each on a line.

Every family reads such a grammar, whatever its own form of calls is: the model cannot write anything else. Each schema
is a grammar of its own, so its references stay within it. Source: llguidance's variant of Lark.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from slipway.errors import Code, SlipwayError
from slipway.rest.openai.errors import ApiError
from slipway.rest.openai.tools import ToolPlan
from slipway.runtime.grammars.checking import CHECKS, SCHEMA_OPTIONS
from slipway.runtime.grammars.source import OPTIONS, GrammarSource, json_schema, lark_grammar


async def forced_grammar(tools: ToolPlan) -> GrammarSource:
    """Return the grammar of calls of the functions in `tools.forced`; raise `ApiError` naming what cannot be followed,
    and UNSUPPORTED if the library for it is missing."""
    places = [place for place, tool in enumerate(tools.shown) if tool["function"]["name"] in tools.forced]
    rules = ["start: call" if tools.single else r'start: call ("\n" call)*']
    rules.append("call: " + " | ".join(f"call_{place}" for place in places))
    for place in places:
        rules += _rules(place, tools.shown[place]["function"])
    try:
        source = lark_grammar("\n".join(rules))
        await CHECKS.check_soon(source)
    except SlipwayError as error:
        if error.code is not Code.INVALID_ARG:
            raise
        raise ApiError(f"'tools' cannot be forced: {error.message}.", "tools") from None
    return source


def _rules(place: int, function: Mapping[str, Any]) -> list[str]:
    """Return the rules of the calls of one function."""
    schema = {"type": "object", **(function.get("parameters") or {})}
    try:
        json_schema(schema)
    except SlipwayError as error:
        where = f"tools[{place}].function.parameters"
        raise ApiError(f"'{where}' is not valid: {error.message}.", where) from None
    begin = json.dumps(f'{{"name": "{function["name"]}", "arguments": ')
    written = json.dumps({**schema, OPTIONS: dict(SCHEMA_OPTIONS)})
    return [f'call_{place}: {begin} arguments_{place} "}}"', f"arguments_{place}: %json {written}"]
