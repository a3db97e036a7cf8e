"""Growing hypotheses, one in a row without beams or several in a beam, and how different lengths compare.

Length penalties are positive and finite for any exponent: an extreme one saturates instead of overflowing. Knows no
tensors: the CTranslate2 engine also uses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

from slipway.transformer.decoding.word_lists import StopWords
from slipway.transformer.generation import Decoding, GenerationListener, Hypothesis

_LARGEST_EXPONENT = 700.0  # exp(709) is the largest float


class EndCondition:
    """When a hypothesis is complete: at the end token, or when it ends with one of the stop words or texts."""

    def __init__(self, decoding: Decoding) -> None:
        self._end_id = decoding.end_id
        self._stop_words = StopWords.of(decoding.stop_words)
        self._stop_texts = None if decoding.rules is None else decoding.rules.stop_texts

    def met(self, ids: Sequence[int]) -> bool:
        """Return whether the last of `ids` completes a hypothesis."""
        if ids[-1] == self._end_id or self._stop_words.match(ids):
            return True
        return self._stop_texts is not None and self._stop_texts.met(ids)


class GeneratedSequence:
    """The tokens that a greedy or sampled row has generated so far."""

    def __init__(self, index: int, decoding: Decoding, listener: GenerationListener) -> None:
        self.index = index
        self.decoding = decoding
        self.ids: list[int] = []
        self._listener = listener
        self._end = EndCondition(decoding)
        self._total = 0.0
        self._figures: list[float] = []

    @property
    def may_end(self) -> bool:
        """Whether the end token is allowed next."""
        return len(self.ids) >= self.decoding.min_tokens

    def accept(self, token: int, log_probability: float, figure: float) -> bool:
        """Add one more token and return whether the row continues; if not, the end has been reported to the listener.

        `log_probability` is the full softmax's; `figure` is the value to report for the token.
        """
        self.ids.append(token)
        self._total += log_probability
        if self.decoding.log_probabilities:
            self._figures.append(figure)
        cancelled = self._listener.token(self.index, token, log_probability, figure)
        if not (cancelled or self._end.met(self.ids) or len(self.ids) >= self.decoding.max_tokens):
            return True
        self._listener.done(self.index, [Hypothesis(tuple(self.ids), self._total, self._total, tuple(self._figures))])
        return False


@dataclass(frozen=True, slots=True)
class BeamHypothesis:
    """One hypothesis of a beam: an immutable sequence of tokens with its log-probability."""

    ids: tuple[int, ...] = ()
    total: float = 0.0  # the sum of the log-probabilities
    figures: tuple[float, ...] = ()

    def extended(self, token: int, log_probability: float) -> BeamHypothesis:
        """Return the hypothesis continued by one token."""
        return BeamHypothesis((*self.ids, token), self.total + log_probability, (*self.figures, log_probability))

    def result(self, score: float, *, figures: bool) -> Hypothesis:
        """Return the reported form of a finished hypothesis, with the figure of each token if `figures`."""
        return Hypothesis(self.ids, self.total, score, self.figures if figures else ())


def power_penalty(length: int, alpha: float) -> float:
    """Return length ** alpha, by which transformers and FasterTransformer divide a log-probability."""
    return _power(length, alpha)


def gnmt_penalty(length: int, alpha: float) -> float:
    """Return the GNMT length penalty ((5 + length) / 6) ** alpha (Wu et al. 2016, eq. 14)."""
    return _power((5 + length) / 6, alpha)


def _power(base: float, exponent: float) -> float:
    return exp(max(-_LARGEST_EXPONENT, min(_LARGEST_EXPONENT, exponent * log(base))))
