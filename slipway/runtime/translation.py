"""What surrounds the engine of a tensor2tensor model: texts and ids to rows, hypotheses to beams and texts.

The rules are tensor2tensor's: a row ends in `END_ID`, gets at most its own padded length plus `extra_length` tokens,
and is searched with beams, or greedily if there is one. Knows neither engines nor protocols.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from slipway.checkpoints.tensor2tensor.decode_hparams import DecodeHParams
from slipway.checkpoints.tensor2tensor.subwords import END_ID, PAD_ID, SubwordTextEncoder
from slipway.errors import invalid
from slipway.transformer.generation import Decoding, Hypothesis, Search, SequenceRequest
from slipway.transformer.spec import Positions, Stack, Transformer

NO_BEAM: Final = Hypothesis((), -1e7, -1e7)  # in the place of a beam that was not found: tensor2tensor's -INF
EMPTY: Final = Hypothesis((END_ID,), 0.0, 0.0)  # the translation of a text without characters
_MOST_TOKENS: Final = 4096  # of a model whose positions set no limit
_SPARE: Final = 64  # tokens: those next to a cut may differ, and must not be among the ones that are kept


class Translation:
    """One model's vocabulary, limits and decoding; `most_tokens` is the maximum length of a text with its end token."""

    def __init__(self, spec: Transformer, vocabulary: SubwordTextEncoder, settings: DecodeHParams) -> None:
        self.spec = spec
        self.vocabulary = vocabulary
        self.settings = settings
        rows = _rows(spec.input_stack)
        self.most_tokens = min(rows, settings.max_input_size) if settings.max_input_size > 0 else rows
        longest = max(map(len, vocabulary.subtokens)) + 1  # a space between two tokens costs nothing
        self._most_characters = (self.most_tokens + _SPARE) * longest

    def encode(self, text: str) -> np.ndarray | None:
        """Return the ids of a text and the end token, int64 [tokens], None for a text without characters; a text that
        is too long is cut. Raise INVALID_ARG if it is not valid Unicode."""
        text = text.strip()
        if not text:
            return None
        ids = self.vocabulary.encode(text[: self._most_characters])
        return np.array([*ids[: self.most_tokens - 1], END_ID], np.int64)

    def row(self, ids: np.ndarray, settings: DecodeHParams | None = None) -> SequenceRequest:
        """Return the row of the padded ids int64 [tokens]; `settings` replace the model's own.

        Raise INVALID_ARG if there are no ids, too many, or some outside the vocabulary.
        """
        settings = settings or self.settings
        known = np.flatnonzero(ids != PAD_ID)
        if not known.size:
            raise invalid("it has no tokens")
        own = ids[: known[-1] + 1]
        size = self.spec.input_stack.vocabulary
        if own.min() < 0 or own.max() >= size:
            raise invalid(f"its ids range from {own.min()} to {own.max()}, but the vocabulary has {size}")
        most = _rows(self.spec.input_stack)
        if own.size > most:
            raise invalid(f"it has {own.size} tokens, but at most {most} are possible")
        return SequenceRequest(own, self.decoding(len(ids), settings))

    def decoding(self, padded_length: int, settings: DecodeHParams) -> Decoding:
        """Return how a row of `padded_length` tokens is decoded."""
        most = min(padded_length + settings.extra_length, _rows(self.spec.output_stack))
        if settings.beam_size == 1:
            return Decoding(most, start_id=PAD_ID, end_id=END_ID)
        return Decoding(
            most,
            start_id=PAD_ID,
            end_id=END_ID,
            search=Search.TENSOR2TENSOR,
            beam_width=settings.beam_size,
            length_penalty=settings.alpha,
            every_beam=settings.return_beams,
        )

    def beams(self, found: Sequence[Hypothesis], settings: DecodeHParams | None = None) -> list[Hypothesis]:
        """Return the best hypothesis, or as many as there are beams if they are to be returned."""
        settings = settings or self.settings
        count = settings.beam_size if settings.return_beams else 1
        return [*found[:count], *[NO_BEAM] * (count - len(found))]

    def text(self, ids: Iterable[int]) -> str:
        """Return the text of generated ids up to the end token."""
        kept = []
        for each in ids:
            if each == END_ID:
                break
            if each != PAD_ID:
                kept.append(each)
        return self.vocabulary.decode(kept)


def _rows(stack: Stack) -> int:
    return stack.position_rows if stack.positions is Positions.TABLE else _MOST_TOKENS
