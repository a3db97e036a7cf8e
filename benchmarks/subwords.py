"""Subwords: building a vocabulary from 200 000 lines, against the plain algorithm, and encoding.

The lines are made up: inflected words of random syllables, as frequent as Zipf's law has it, which gives as many
different words as real text has. Times are of the processor, because each of the three uses one thread.
"""

from __future__ import annotations

import time

import numpy as np

from benchmarks import plain_vocabulary as plain
from benchmarks.report import Row
from slipway.checkpoints.tensor2tensor.subwords import SubwordTextEncoder
from slipway.train.vocabulary_builder import build_vocabulary, count_tokens

LINES = 200_000
WORDS_OF_A_LINE = 20
SIZE = 1 << 13
STEMS = 20_000
ENCODED_LINES = 20_000
_SYLLABLES = [a + b + c for a in ("", *"bdfgklmnprstvz", "sch", "st") for b in "aeiou" for c in ("", *"lmnrst")]
_ENDINGS = ["", "", "", "s", "e", "en", "er", "es", "ung", "lich", "heit", "te", "test", "end"]


def subwords() -> list[Row]:
    """Measure the builder and the encoder."""
    lines = made_lines(LINES)
    started = time.process_time()
    built = build_vocabulary(count_tokens(lines), SIZE)
    ours = time.process_time() - started
    started = time.process_time()
    expected = plain.build(plain.count_tokens(lines), SIZE)
    theirs = time.process_time() - started
    if built != expected:
        raise ValueError("the vocabulary is not that of the plain algorithm")
    encoder = SubwordTextEncoder(built)
    text = lines[:ENCODED_LINES]
    started = time.process_time()
    for line in text:
        encoder.encode(line)
    words = len(text) * WORDS_OF_A_LINE / (time.process_time() - started)
    return [
        Row(f"vocabulary of {len(built):,} subtokens from {LINES:,} lines", ours, "s", theirs, at_most=0.2),
        Row("words encoded, each word for the first time or again", words, "/s", at_least=50_000),
    ]


def made_lines(count: int) -> list[str]:
    """Return lines of made-up words."""
    random = np.random.default_rng(0)
    lengths = random.integers(1, 4, STEMS)
    parts = random.integers(0, len(_SYLLABLES), lengths.sum())
    stems = ["".join(_SYLLABLES[part] for part in own) for own in np.split(parts, np.cumsum(lengths)[:-1])]
    weights = 1 / np.arange(2, STEMS + 2)
    chosen = random.choice(STEMS, (count, WORDS_OF_A_LINE), p=weights / weights.sum())
    endings = random.integers(0, len(_ENDINGS), chosen.shape)
    return [
        " ".join(stems[stem] + _ENDINGS[ending] for stem, ending in zip(*pair, strict=True)) + "."
        for pair in zip(chosen.tolist(), endings.tolist(), strict=True)
    ]
