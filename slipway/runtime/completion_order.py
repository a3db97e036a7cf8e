"""One row that `CompletionModel` is asked for, as JSON: a prompt of token ids, the decoding, and what to report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from slipway.errors import SlipwayError, invalid, shown
from slipway.foreign_json import parse_foreign
from slipway.runtime.arguments import SETTINGS, check_names

_MOST_TOP: Final = 20  # as OpenAI
_MOST_STOPS: Final = 16
_LONGEST_STOP: Final = 1024  # characters
_MOST_BIASES: Final = 1024
_LARGEST_BIAS: Final = 100.0  # as OpenAI; also of penalties


@dataclass(frozen=True, slots=True)
class CompletionOrder:
    """`settings` are decoding arguments by name (`arguments.SETTINGS`); `most_tokens` limits the length unless they set
    it; `logprobs` is the number of best tokens to report at each step, None for no log-probabilities at all; with
    `pieces` the text is reported as it grows, and not only when it is complete. `special_tokens` stay in the text."""

    prompt: tuple[int, ...]
    settings: Mapping[str, float | str] = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    logit_bias: tuple[tuple[int, float], ...] = ()
    frequency_penalty: float = 0.0  # OpenAI's two, on generated tokens
    output_presence_penalty: float = 0.0
    logprobs: int | None = None
    most_tokens: int | None = None
    pieces: bool = False
    special_tokens: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: bytes | str) -> CompletionOrder:
        """Return the order in a JSON object; raise INVALID_ARG naming every member that is unknown or invalid."""
        members = parse_foreign(text, "completion")
        if not isinstance(members, dict):
            raise invalid("completion: expected a JSON object")
        values: dict[str, Any] = {}
        problems: list[str] = []
        settings = {name: value for name, value in members.items() if name not in _READERS}
        for name, read in _READERS.items():
            if name in members or name == "prompt":
                try:
                    values[name] = read(members.get(name))
                except (TypeError, ValueError, OverflowError) as error:
                    problems.append(f"'{name}': {error}")
        try:
            check_names([name for name in settings if name not in _KNOWN], tuple(_READERS))
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


def _biases(value: Any) -> tuple[tuple[int, float], ...]:
    if not isinstance(value, dict) or len(value) > _MOST_BIASES:
        raise ValueError(f"expected an object with at most {_MOST_BIASES} token ids")
    if not all(name.isascii() and name.isdigit() and len(name) < 11 for name in value):
        raise ValueError("its names are not all token ids")
    if not all(isinstance(bias, int | float) and -_LARGEST_BIAS <= bias <= _LARGEST_BIAS for bias in value.values()):
        raise ValueError(f"its values are not all from -{_LARGEST_BIAS:g} to {_LARGEST_BIAS:g}")
    return tuple((int(name), float(bias)) for name, bias in value.items())


def _penalty(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= _LARGEST_BIAS:
        raise ValueError(f"expected a number from -{_LARGEST_BIAS:g} to {_LARGEST_BIAS:g}")
    return float(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("expected true or false")
    return value


def _top(value: Any) -> int | None:
    return None if value is None else _whole(value, 0, _MOST_TOP)


def _most_tokens(value: Any) -> int | None:
    return None if value is None else _whole(value, 1, (1 << 31) - 1)


_READERS: Final = {
    "prompt": _prompt,
    "stop": _stops,
    "logit_bias": _biases,
    "frequency_penalty": _penalty,
    "output_presence_penalty": _penalty,
    "logprobs": _top,
    "most_tokens": _most_tokens,
    "pieces": _flag,
    "special_tokens": _special,
}
