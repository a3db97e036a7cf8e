"""A row without beam: one hypothesis that grows token by token and reports each to the listener."""

from __future__ import annotations

from slipway.transformer.decoding.word_lists import StopWords
from slipway.transformer.generation import Decoding, GenerationListener, Hypothesis


class GeneratedSequence:
    """What a greedy or sampled row has generated so far, and whether it goes on."""

    def __init__(self, index: int, decoding: Decoding, listener: GenerationListener) -> None:
        self.index = index
        self.decoding = decoding
        self.ids: list[int] = []
        self._listener = listener
        self._stop_words = StopWords.of(decoding.stop_words)
        self._total = 0.0
        self._figures: list[float] = []

    @property
    def may_end(self) -> bool:
        """Whether the end token is allowed next."""
        return len(self.ids) >= self.decoding.min_tokens

    def accept(self, token: int, log_probability: float, figure: float) -> bool:
        """Take one more token and return whether the row goes on; its listener has heard of the end if not.

        `log_probability` is the full softmax's, `figure` what is reported for the token.
        """
        self.ids.append(token)
        self._total += log_probability
        if self.decoding.log_probabilities:
            self._figures.append(figure)
        cancelled = self._listener.token(self.index, token, log_probability, figure)
        ends = token == self.decoding.end_id or self._stop_words.match(self.ids)
        if not (cancelled or ends or len(self.ids) >= self.decoding.max_tokens):
            return True
        self._listener.done(self.index, [Hypothesis(tuple(self.ids), self._total, self._total, tuple(self._figures))])
        return False
