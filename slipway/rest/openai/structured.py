"""What the fields of a body say that a text must be: OpenAI's `response_format`, and vLLM's `structured_outputs` and
`guided_...`. Each becomes a grammar (`runtime/grammars/source.py`), which is checked before the request is queued.

Sources: openai-openapi, `ResponseFormatJsonSchema`; vLLM's documentation, "Structured Outputs".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from slipway.errors import Code, SlipwayError
from slipway.rest.openai.errors import ApiError
from slipway.runtime.grammars.checking import CHECKS
from slipway.runtime.grammars.source import GrammarSource, read_grammar

_FORMAT: Final = "response_format"
_OUTPUTS: Final = "structured_outputs"
_MOST_CHARACTERS: Final = 4 << 20  # of the grammars of all sequences together: each is a request of its own


class JsonSchemaFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`response_format.json_schema`. Every schema is enforced, whether `strict` is set or not."""

    name: str
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`response_format`."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None


class StructuredOutputs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`structured_outputs`, of which one member is set."""

    json: str | dict[str, Any] | bool | None = None
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None

    def members(self) -> Mapping[str, Any]:
        """Return what is set, by the names of `read_grammar`."""
        found = {"json_schema": self.json, "regex": self.regex, "choice": self.choice, "grammar": self.grammar}
        return {name: value for name, value in {**found, "json_object": self.json_object}.items() if value is not None}


class StructureFields(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a body that say what the text must be."""

    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: str | dict[str, Any] | bool | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None


def read_structure(request: StructureFields) -> tuple[str, GrammarSource] | None:
    """Return the field that says what the text must be, and the grammar; None if there is none. Raise `ApiError`."""
    wanted = {
        _FORMAT: _of_format(request.response_format),
        _OUTPUTS: {} if request.structured_outputs is None else request.structured_outputs.members(),
    }
    for name in ("guided_json", "guided_regex", "guided_choice", "guided_grammar"):
        value = getattr(request, name)
        wanted[name] = {} if value is None else {name: value}
    found: dict[str, GrammarSource] = {}
    for name, members in wanted.items():
        try:
            source = read_grammar(members)
        except SlipwayError as error:
            raise ApiError(f"'{name}' is not valid: {error.message}.", name) from None
        if source is not None:
            found[name] = source
    if len(found) > 1:
        first, second, *_ = found
        raise ApiError(f"'{first}' and '{second}' both say what the text must be: set only one of them.", second)
    return next(iter(found.items()), None)


async def checked_structure(request: StructureFields, sequences: int) -> GrammarSource | None:
    """Return the grammar that a body of so many sequences asks for, None without one; raise `ApiError` for one that
    cannot be followed, and UNSUPPORTED if the library for it is missing."""
    structure = read_structure(request)
    if structure is None:
        return None
    field, source = structure
    if len(source.text) * sequences > _MOST_CHARACTERS:
        raise ApiError(
            f"'{field}' has {len(source.text)} characters, which are too many for {sequences} sequences.",
            field,
            status=413,
        )
    try:
        await CHECKS.check_soon(source)
    except SlipwayError as error:
        if error.code is not Code.INVALID_ARG:
            raise
        raise ApiError(f"'{field}' is not valid: {error.message}.", field) from None
    return source


def _of_format(wanted: ResponseFormat | None) -> Mapping[str, Any]:
    if wanted is None or wanted.type == "text":
        return {}
    if wanted.type == "json_object":
        return {"json_object": True}
    if wanted.json_schema is None:
        raise ApiError(f"Missing required parameter: '{_FORMAT}.json_schema'.", f"{_FORMAT}.json_schema")
    return {"json_schema": wanted.json_schema.schema}
