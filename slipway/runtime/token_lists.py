"""The settings of a request that list token ids: which tokens end a text, which it may consist of, and by how much each
is preferred. Read from JSON values, with bounds; independent of models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from slipway.errors import invalid
from slipway.foreign_json import parse_foreign

MOST_BIASES: Final = 1024
MOST_IDS: Final = 4096
_LARGEST_BIAS: Final = 100.0  # as OpenAI
_LARGEST_ID: Final = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class TokenLists:
    """`stop_token_ids` end a text in addition to the model's own end tokens; a text consists of `allowed_token_ids`, if
    there are any, and ends; `logit_bias` is added to the scores of tokens."""

    stop_token_ids: tuple[int, ...] = ()
    allowed_token_ids: tuple[int, ...] = ()
    logit_bias: tuple[tuple[int, float], ...] = ()

    def check(self, vocabulary: int) -> None:
        """Raise INVALID_ARG naming a list with an id that is not in the vocabulary."""
        biased = tuple(token for token, _ in self.logit_bias)
        lists = (("stop_token_ids", self.stop_token_ids), ("allowed_token_ids", self.allowed_token_ids))
        for name, tokens in (*lists, ("logit_bias", biased)):
            beyond = [token for token in tokens if token >= vocabulary]
            if beyond:
                raise invalid(f"{name} has token {beyond[0]}, but the vocabulary has {vocabulary}")


def token_ids(value: Any) -> tuple[int, ...]:
    """Return a list of token ids; raise ValueError."""
    if not isinstance(value, list) or len(value) > MOST_IDS:
        raise ValueError(f"expected a list of at most {MOST_IDS} token ids")
    if not all(isinstance(each, int) and not isinstance(each, bool) and 0 <= each <= _LARGEST_ID for each in value):
        raise ValueError(f"expected whole numbers from 0 to {_LARGEST_ID}")
    return tuple(dict.fromkeys(value))


def token_biases(value: Any) -> tuple[tuple[int, float], ...]:
    """Return the biases in an object whose names are token ids; raise ValueError."""
    if not isinstance(value, dict) or len(value) > MOST_BIASES:
        raise ValueError(f"expected an object with at most {MOST_BIASES} token ids")
    if not all(name.isascii() and name.isdigit() and len(name) < 11 for name in value):
        raise ValueError("its names are not all token ids")
    if not all(isinstance(bias, int | float) and -_LARGEST_BIAS <= bias <= _LARGEST_BIAS for bias in value.values()):
        raise ValueError(f"its values are not all from -{_LARGEST_BIAS:g} to {_LARGEST_BIAS:g}")
    return tuple((int(name), float(bias)) for name, bias in value.items())


# Name, also of the field of `TokenLists` -> the function that reads its JSON value.
LISTS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "stop_token_ids": token_ids,
    "allowed_token_ids": token_ids,
    "logit_bias": token_biases,
}


def read_token_lists(values: Mapping[str, Any]) -> TokenLists:
    """Return the lists among a request's values, each a JSON value or its text.

    Raise INVALID_ARG naming one that is malformed.
    """
    found: dict[str, Any] = {}
    for name, read in LISTS.items():
        value = values.get(name)
        if value is None:
            continue
        try:
            found[name] = read(parse_foreign(value, name) if isinstance(value, str | bytes) else value)
        except (TypeError, ValueError) as error:
            raise invalid(f"'{name}': {error}") from None
    return TokenLists(**found)
