"""The inputs for the gate and for measuring speed: sample texts and random ids, short enough for a plain reference."""

from __future__ import annotations

from typing import Final

import numpy as np

from slipway.checkpoints.tensor2tensor.export import TrainedModel
from slipway.checkpoints.tensor2tensor.subwords import END_ID
from slipway.convert.measure import seconds_per_run
from slipway.convert.runner import OpenModel
from slipway.convert.sample import sample_texts
from slipway.convert.tensor2tensor.gate import TranslationQuestion
from slipway.convert.tensor2tensor.reference import ReferenceTranslator
from slipway.convert.token_columns import TokenSpeed
from slipway.runtime.tensor2tensor_model import IDS, OUTPUT_IDS

_TEXTS: Final = 8
_LONGEST: Final = 24  # tokens of an input in the gate ...
_MOST: Final = 32  # ... and of an output
_RANDOM: Final = (1, 2, 9, 24)  # tokens of random inputs
_SEARCHED: Final = 4  # rows for beam search
_BATCHES: Final = (1, 32)  # one text, and the lines of a file
_MEASURED: Final = 16  # tokens in and out
_SECONDS: Final = 1.5  # at most, per figure
_RUNS: Final = 3  # at least: a beam search of a large model takes seconds


def ask_reference(model: TrainedModel, reference: ReferenceTranslator) -> list[TranslationQuestion]:
    """Return the rows of the gate with the ids that the reference finds, greedily and with the model's own beams."""
    rows = [_of_text(model, text) for text in sample_texts()[:_TEXTS]]
    random = np.random.default_rng(0)
    rows += [_random_ids(model, tokens, random) for tokens in _RANDOM]
    questions = [TranslationQuestion(row, _MOST, reference.greedy(row, _MOST)) for row in rows]
    width, alpha = model.settings.beam_size, model.settings.alpha
    if width > 1:
        for row in (*rows[:2], *rows[-2:])[:_SEARCHED]:
            expected = reference.beams(row, _MOST, width=width, alpha=alpha)
            questions.append(TranslationQuestion(row, _MOST, expected, width, alpha))
    return questions


def measure(opened: OpenModel, model: TrainedModel) -> tuple[TokenSpeed, ...]:
    """Return the tokens per second with the model's own search, for one row and for a batch."""
    return tuple(_speed(opened, model, batch) for batch in _BATCHES)


def _speed(opened: OpenModel, model: TrainedModel, batch: int) -> TokenSpeed:
    random = np.random.default_rng(batch)
    ids = np.stack([_random_ids(model, _MEASURED, random) for _ in range(batch)]).astype(np.int32)
    request = {IDS: ids, "extra_length": np.zeros((batch, 1), np.int32)}
    found = opened.run(request)[OUTPUT_IDS]
    tokens = int(np.count_nonzero(found.reshape(batch, -1, found.shape[-1])[:, 0]))
    seconds = seconds_per_run(opened, request, _SECONDS, _RUNS)
    return TokenSpeed(batch, _MEASURED, tokens // batch, tokens / seconds)


def _of_text(model: TrainedModel, text: str) -> np.ndarray:
    return np.array([*model.vocabulary.encode(text)[: _LONGEST - 1], END_ID], np.int64)


def _random_ids(model: TrainedModel, tokens: int, random: np.random.Generator) -> np.ndarray:
    """Return a row of random ids, int64 [tokens], whose last one ends it."""
    return np.array([*random.integers(END_ID + 1, model.vocabulary.vocabulary_size, tokens - 1), END_ID], np.int64)
