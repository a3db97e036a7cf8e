"""The inputs for the gate and for measuring speed: real text, and random ids of several lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from slipway.convert.generation.gate import MAX_TOKENS, Question
from slipway.convert.generation.reference import ReferenceGenerator
from slipway.convert.generation.source import GenerationSource

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_TEXTS: Final = 8
_LONGEST: Final = 64  # tokens of a text in the gate
_RANDOM: Final = (1, 2, 9, 33)


def ask_reference(
    source: GenerationSource, tokenizer: Tokenizer, reference: ReferenceGenerator, texts: Sequence[str]
) -> list[Question]:
    """Return the rows of the gate with the ids that transformers generates: sample texts, then random ids."""
    rows = [np.array(tokenizer.encode(text).ids, np.int64) for text in texts[:_TEXTS]]
    rows = [row[:_LONGEST] for row in rows if row.size]
    random = np.random.default_rng(0)
    rows += [random_ids(source, tokens, random) for tokens in _RANDOM if tokens <= source.max_length]
    limits = [min(MAX_TOKENS, source.room(len(row))) for row in rows]
    return [
        Question(row, most, reference.generate(row, most)) for row, most in zip(rows, limits, strict=True) if most > 0
    ]


def random_ids(source: GenerationSource, tokens: int, random: np.random.Generator) -> np.ndarray:
    """Return a row of random ids without start, end and padding ids, int64 [tokens]."""
    stack = source.spec.encoder or source.decoder
    special = {source.checkpoint.padding_id, *source.checkpoint.end_ids, source.spec.start_id}
    allowed = np.array([each for each in range(stack.vocabulary) if each not in special], np.int64)
    return random.choice(allowed, tokens)
