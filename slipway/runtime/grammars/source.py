"""What a request asks a text to be: JSON of a schema, a match of a regular expression, one of several texts, or a
sentence of a grammar. Values with bounds; knows neither the library nor tokens."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from slipway.errors import SlipwayError, invalid
from slipway.foreign_json import parse_foreign

MOST_CHARACTERS: Final = 1 << 16  # of a grammar as text
_MOST_CHOICES: Final = 4096


class GrammarKind(Enum):
    """How a grammar is written; the value says it in messages."""

    JSON_SCHEMA = "JSON schema"
    REGEX = "regular expression"
    CHOICE = "list of choices"
    GRAMMAR = "grammar"


@dataclass(frozen=True, slots=True)
class GrammarSource:
    """A grammar as text: a schema and a list of choices are JSON."""

    kind: GrammarKind
    text: str

    @property
    def member(self) -> tuple[str, str]:
        """The argument that asks for it, and its value."""
        return self.kind.name.lower(), self.text


def json_schema(value: Any) -> GrammarSource:
    """Return the grammar of a JSON schema: an object, true, false, or one of these as text. Raise INVALID_ARG."""
    schema = parse_foreign(value, "JSON schema") if isinstance(value, str) else value
    if not isinstance(schema, dict | bool):
        raise invalid("a JSON schema must be an object, true or false")
    if isinstance(schema, dict) and OPTIONS in schema:
        raise invalid(f"a JSON schema must not have the key '{OPTIONS}'")
    return _bounded(GrammarKind.JSON_SCHEMA, _written(schema))


def json_object(value: Any) -> GrammarSource | None:
    """Return the grammar of any JSON object if `value` is true, none if it is false. Raise INVALID_ARG."""
    if not isinstance(value, bool):
        raise invalid("expected true or false")
    return GrammarSource(GrammarKind.JSON_SCHEMA, '{"type":"object"}') if value else None


def regex(value: Any) -> GrammarSource:
    """Return the grammar of the texts that an expression matches as a whole. Raise INVALID_ARG."""
    return _bounded(GrammarKind.REGEX, _text(value))


def choice(value: Any) -> GrammarSource:
    """Return the grammar of a few texts: a list, or one as JSON. Raise INVALID_ARG."""
    texts = parse_foreign(value, "choices") if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(each, str) for each in texts):
        raise invalid("expected a list of texts")
    if len(texts) > _MOST_CHOICES:
        raise invalid(f"{len(texts)} choices are more than {_MOST_CHOICES}")
    return _bounded(GrammarKind.CHOICE, _written(texts))


def lark_grammar(value: Any) -> GrammarSource:
    """Return a grammar in the syntax of Lark or GBNF. Raise INVALID_ARG."""
    return _bounded(GrammarKind.GRAMMAR, _text(value))


OPTIONS: Final = "x-guidance"  # with it, a schema would change how the library reads it


@dataclass(frozen=True, slots=True)
class GrammarArgument:
    """An argument that says what a text must be; `guided` is its name in vLLM."""

    name: str
    guided: str
    datatype: str
    read: Callable[[Any], GrammarSource | None]

    @property
    def names(self) -> tuple[str, str]:
        """Both its names."""
        return self.name, self.guided


GRAMMARS: Final = (
    GrammarArgument("json_schema", "guided_json", "BYTES", json_schema),
    GrammarArgument("json_object", "guided_json_object", "BOOL", json_object),
    GrammarArgument("regex", "guided_regex", "BYTES", regex),
    GrammarArgument("choice", "guided_choice", "BYTES", choice),
    GrammarArgument("grammar", "guided_grammar", "BYTES", lark_grammar),
)
GRAMMAR_NAMES: Final[Mapping[str, GrammarArgument]] = {name: each for each in GRAMMARS for name in each.names}


def read_grammar(values: Mapping[str, Any]) -> GrammarSource | None:
    """Return the grammar that the one of the members in `GRAMMAR_NAMES` asks for, None without any; others are not
    looked at.

    Raise INVALID_ARG naming the member that is wrong, or the two that contradict each other.
    """
    found: dict[str, GrammarSource] = {}
    for name in [name for name in GRAMMAR_NAMES if name in values]:
        try:
            source = GRAMMAR_NAMES[name].read(values[name])
        except SlipwayError as error:
            raise invalid(f"'{name}': {error.message}") from None
        if source is not None:
            found[name] = source
    if len(found) > 1:
        first, second, *_ = found
        raise invalid(f"'{first}' and '{second}' both say what the text must be: set only one of them")
    return next(iter(found.values()), None)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise invalid("expected a text")
    return value


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _bounded(kind: GrammarKind, text: str) -> GrammarSource:
    if len(text) > MOST_CHARACTERS:
        raise invalid(f"a {kind.value} of {len(text)} characters is longer than {MOST_CHARACTERS}")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise invalid(f"a {kind.value} must not contain half a surrogate pair")
    return GrammarSource(kind, text)
