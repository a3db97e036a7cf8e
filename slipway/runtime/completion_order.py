"""One row that `CompletionModel` is asked for, as JSON: a prompt of token ids, the decoding, and what to report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from slipway.errors import SlipwayError, invalid, shown
from slipway.foreign_json import parse_foreign
from slipway.runtime.arguments import SETTINGS, check_names
from slipway.runtime.grammars.source import GRAMMAR_NAMES, GrammarSource, read_grammar
from slipway.runtime.token_lists import LISTS, TokenLists, read_token_lists

INCLUDE_STOP: Final = "include_stop_str_in_output"
_MOST_TOP: Final = 20  # as OpenAI
_MOST_STOPS: Final = 16
_LONGEST_STOP: Final = 1024  # characters
_LARGEST_PENALTY: Final = 100.0


@dataclass(frozen=True, slots=True)
class CompletionOrder:
    """`settings` are decoding arguments by name (`arguments.SETTINGS`); `most_tokens` limits the length unless they set
    it; `logprobs` is the number of best tokens to report at each step, None for no log-probabilities at all; with
    `pieces` the text is reported as it grows, and not only when it is complete. With `include_stop` the text ends after
    its stop text or stop token, and not before it. `special_tokens` stay in the text."""

    prompt: tuple[int, ...]
    settings: Mapping[str, float | str] = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    tokens: TokenLists = TokenLists()  # noqa: RUF009  a frozen value
    include_stop: bool = False
    frequency_penalty: float = 0.0  # OpenAI's two, on generated tokens
    output_presence_penalty: float = 0.0
    logprobs: int | None = None
    most_tokens: int | None = None
    pieces: bool = False
    special_tokens: tuple[str, ...] = ()
    grammar: GrammarSource | None = None

    @classmethod
    def of(cls, text: bytes | str) -> CompletionOrder:
        """Return the order in a JSON object; raise INVALID_ARG naming every member that is unknown or invalid."""
        members = parse_foreign(text, "completion")
        if not isinstance(members, dict):
            raise invalid("completion: expected a JSON object")
        values: dict[str, Any] = {}
        problems: list[str] = []
        read_apart = _READERS.keys() | GRAMMAR_NAMES.keys() | LISTS.keys() | {INCLUDE_STOP}
        settings = {name: value for name, value in members.items() if name not in read_apart}
        for name, read in _READERS.items():
            if name in members or name == "prompt":
                try:
                    values[name] = read(members.get(name))
                except (TypeError, ValueError, OverflowError) as error:
                    problems.append(f"'{name}': {error}")
        for name, read_some in _OF_SEVERAL.items():
            try:
                values[name] = read_some(members)
            except SlipwayError as error:
                problems.append(error.message)
        try:
            check_names([name for name in settings if name not in _KNOWN], (*_READERS, INCLUDE_STOP))
        except SlipwayError as error:
            problems.append(error.message)
        problems += [
            f"'{shown(name)}': expected a number, a text, true or false"
            for name, value in settings.items()
            if not isinstance(value, int | float | str)
        ]
        if problems:
            raise invalid("; ".join(problems))
        return cls(settings=settings, **values)


_KNOWN: Final = frozenset(name for each in SETTINGS for name in each.names)


def _whole(value: Any, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"expected a whole number from {least} to {most}")
    return value


def _prompt(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError("expected token ids")
    return tuple(_whole(each, 0, (1 << 31) - 1) for each in value)


def _stops(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > _MOST_STOPS or not all(isinstance(each, str) for each in value):
        raise ValueError(f"expected at most {_MOST_STOPS} texts")
    if any(len(each) > _LONGEST_STOP for each in value):
        raise ValueError(f"a stop text has more than {_LONGEST_STOP} characters")
    return tuple(filter(None, value))


def _special(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > _MOST_STOPS or not all(isinstance(each, str) for each in value):
        raise ValueError(f"expected at most {_MOST_STOPS} tokens")
    return tuple(value)


def _penalty(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= _LARGEST_PENALTY:
        raise ValueError(f"expected a number from -{_LARGEST_PENALTY:g} to {_LARGEST_PENALTY:g}")
    return float(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("expected true or false")
    return value


def _top(value: Any) -> int | None:
    return None if value is None else _whole(value, 0, _MOST_TOP)


def _most_tokens(value: Any) -> int | None:
    return None if value is None else _whole(value, 1, (1 << 31) - 1)


def _include_stop(members: Mapping[str, Any]) -> bool:
    value = members.get(INCLUDE_STOP, False)
    if not isinstance(value, bool):
        raise invalid(f"'{INCLUDE_STOP}': expected true or false")
    return value


_READERS: Final = {
    "prompt": _prompt,
    "stop": _stops,
    "frequency_penalty": _penalty,
    "output_presence_penalty": _penalty,
    "logprobs": _top,
    "most_tokens": _most_tokens,
    "pieces": _flag,
    "special_tokens": _special,
}
# Field -> the function that reads it from all members; it raises INVALID_ARG naming what is wrong.
_OF_SEVERAL: Final[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = {
    "grammar": read_grammar,
    "tokens": read_token_lists,
    "include_stop": _include_stop,
}
