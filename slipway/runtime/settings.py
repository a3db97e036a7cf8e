"""The settings of a checkpoint that hold for every request, as config.pbtxt has them: JSON under the names of
generation_config.json.

Read when a model opens. Independent of engines and requests.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from slipway.errors import invalid
from slipway.transformer.generation import TransformersRules


def _ids(value: Any) -> tuple[int, ...]:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(each, int) and not isinstance(each, bool) and each >= 0 for each in values):
        raise ValueError("expected token ids")
    return tuple(values)


def _words(value: Any) -> tuple[tuple[int, ...], ...]:
    if not isinstance(value, list) or not all(isinstance(each, list) for each in value):
        raise ValueError("expected lists of token ids")
    return tuple(_ids(each) for each in value)


def _biases(value: Any) -> tuple[tuple[tuple[int, ...], float], ...]:
    if not isinstance(value, list) or not all(isinstance(each, list) and len(each) == 2 for each in value):
        raise ValueError("expected pairs of token ids and a number")
    return tuple((_ids(ids), float(bias)) for ids, bias in value)


def _decay(value: Any) -> tuple[int, float]:
    if not isinstance(value, list) or len(value) != 2 or float(value[1]) <= 0:
        raise ValueError("expected a number of tokens and a positive factor")
    return int(value[0]), float(value[1])


def _texts(value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
        raise ValueError("expected a text or a list of texts")
    return tuple(text for text in texts if text)


# Name in generation_config.json and config.pbtxt -> field of `TransformersRules`, and the function that reads its JSON.
FIELDS: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "bad_words_ids": ("bad_words", _words),
    "sequence_bias": ("sequence_bias", _biases),
    "suppress_tokens": ("suppress_tokens", _ids),
    "begin_suppress_tokens": ("begin_suppress_tokens", _ids),
    "forced_eos_token_id": ("forced_end_ids", _ids),
    "exponential_decay_length_penalty": ("exponential_decay", _decay),
}
STOP_STRINGS: Final = "stop_strings"


@dataclass(frozen=True, slots=True)
class FixedSettings:
    """The rules without the settings of a row, and the stop texts."""

    rules: TransformersRules
    stop_texts: tuple[str, ...] = ()


def read_fixed_settings(parameters: Mapping[str, str]) -> FixedSettings:
    """Return what a config's parameters set; raise INVALID_ARG naming every malformed one."""
    found: dict[str, Any] = {}
    problems: list[str] = []
    for name in (*FIELDS, STOP_STRINGS):
        if name in parameters:
            try:
                value = json.loads(parameters[name])
                found[name] = read_setting(name, value)
            except (ValueError, TypeError) as error:
                problems.append(f"parameter '{name}' is '{parameters[name]}': {error}")
    if problems:
        raise invalid("; ".join(problems))
    texts = found.pop(STOP_STRINGS, ())
    return FixedSettings(TransformersRules(**{FIELDS[name][0]: value for name, value in found.items()}), texts)


def read_setting(name: str, value: Any) -> Any:
    """Return one setting in the form of the rules; raise ValueError or TypeError if it is malformed."""
    return _texts(value) if name == STOP_STRINGS else FIELDS[name][1](value)
