"""The inputs for the gate and for measuring speed: real text, and random ids of several lengths. The gate searches them
in every way that a request can select and with the checkpoint's own settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from slipway.convert.generation.gate import GREEDY, MAX_TOKENS, Question
from slipway.convert.generation.reference import ReferenceGenerator, ReferenceSearch
from slipway.convert.generation.source import GenerationSource
from slipway.runtime.arguments import TOTAL, default_values

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_TEXTS: Final = 8
_LONGEST: Final = 64  # tokens of a text in the gate
_RANDOM: Final = (1, 2, 9, 33)
_SEARCHED: Final = 4  # rows for each way except greedy ...
_SEARCHED_TOKENS: Final = 16  # ... and how many tokens each generates
_SEED: Final = 7

BEAMS: Final = "with beam search"
DRAWS: Final = "with sampling"
OWN: Final = "with the checkpoint's own settings"
# Each way of searching, as settings of transformers and as arguments of a request.
_NEUTRAL: Final[dict[str, Any]] = {
    "do_sample": False, "num_beams": 1, "num_return_sequences": 1, "repetition_penalty": 1.0,
    "max_length": None, "min_length": None, "min_new_tokens": None,
}  # fmt: skip
_PLAIN: Final = {"beam_width": 1, "num_return_sequences": 1, "min_length": 0, "repetition_penalty": 1.0}
_WAYS: Final[dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    BEAMS: (
        {"num_beams": 3, "length_penalty": 1.0, "early_stopping": False, "repetition_penalty": 1.3},
        {"beam_width": 3, "len_penalty": 1.0, "early_stopping": False, "repetition_penalty": 1.3},
    ),
    DRAWS: (
        {"do_sample": True, "temperature": 0.8, "top_k": 20, "top_p": 0.9},
        {"runtime_top_k": 20, "runtime_top_p": 0.9, "temperature": 0.8, "random_seed": _SEED},
    ),
}


def ask_reference(
    source: GenerationSource, tokenizer: Tokenizer, reference: ReferenceGenerator, texts: Sequence[str]
) -> list[Question]:
    """Return the rows of the gate with the ids that transformers generates: sample texts, then random ids."""
    rows = [np.array(tokenizer.encode(text).ids, np.int64) for text in texts[:_TEXTS]]
    rows = [row[:_LONGEST] for row in rows if row.size]
    random = np.random.default_rng(0)
    rows += [random_ids(source, tokens, random) for tokens in _RANDOM if tokens <= source.max_length]
    return questions_of(source, reference, rows)


def questions_of(source: GenerationSource, reference: ReferenceGenerator, rows: Sequence[np.ndarray]) -> list[Question]:
    """Return rows of ids, or of encoder states, with the ids that transformers generates: all greedily, and the first
    two and the last two in every other way."""
    questions = []
    for row in rows:
        most = min(MAX_TOKENS, source.room(len(row)))
        if most > 0:
            greedy = ReferenceSearch(_NEUTRAL | {"max_new_tokens": most})
            questions.append(Question(row, most, reference.generate(row, greedy), GREEDY))
    places = range(len(rows))
    for place in sorted({*places[: _SEARCHED // 2], *places[-_SEARCHED // 2 :]}):
        questions += _searched(source, reference, rows[place])
    return questions


def _searched(source: GenerationSource, reference: ReferenceGenerator, row: np.ndarray) -> Iterator[Question]:
    """Yield one row in every way except greedy."""
    most = min(_SEARCHED_TOKENS, source.room(len(row)))
    if most < 1:
        return
    for way, (theirs, ours) in _WAYS.items():
        search = ReferenceSearch(_NEUTRAL | theirs | {"max_new_tokens": most}, _SEED if way == DRAWS else None)
        arguments = _PLAIN | ours | {"max_output_len": most}
        yield Question(row, most, reference.generate(row, search), way, arguments)
    own = own_limit(source, len(row))
    if own < 1:
        return
    limits = (
        ({}, {})  # its own length is one of its settings
        if own <= MAX_TOKENS
        else ({"max_new_tokens": most, "max_length": None}, {"max_output_len": most})
    )
    draws = "runtime_top_k" in source.defaults
    one = {"num_return_sequences": 1}
    search = ReferenceSearch(limits[0] | one, _SEED if draws else None)
    arguments = limits[1] | one | ({"random_seed": _SEED} if draws else {})
    penalty = float(source.defaults.get("len_penalty", 1.0))
    yield Question(row, min(own, most), reference.generate(row, search), OWN, arguments, penalty)


def own_limit(source: GenerationSource, tokens: int) -> int:
    """Return how many tokens the checkpoint's own settings generate for a row of `tokens`, if there is room."""
    values = default_values(source.defaults)
    before = tokens if source.continues else 1
    wanted = values["max_tokens"] if "max_tokens" in values else values[TOTAL] - before
    return int(min(wanted, source.room(tokens)))


def random_ids(source: GenerationSource, tokens: int, random: np.random.Generator) -> np.ndarray:
    """Return a row of random ids without start, end and padding ids, int64 [tokens]."""
    stack = source.spec.encoder or source.decoder
    special = {source.checkpoint.padding_id, *source.checkpoint.end_ids, source.spec.start_id}
    allowed = np.array([each for each in range(stack.vocabulary) if each not in special], np.int64)
    return random.choice(allowed, tokens)
