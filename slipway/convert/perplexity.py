"""How well a candidate predicts real text: its perplexity beside that of a reference. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from slipway.convert.thresholds import Strictness, perplexity_limit


@dataclass(frozen=True, slots=True)
class ScoredTexts:
    """Texts as ids, int64 [tokens], and what each costs a model: the mean negative log-probability of the tokens after
    the first, in nats."""

    rows: tuple[np.ndarray, ...]
    losses: tuple[float, ...]

    @property
    def tokens(self) -> int:
        """How many tokens are predicted."""
        return sum(len(row) - 1 for row in self.rows)

    @property
    def perplexity(self) -> float:
        """Return e to the mean negative log-probability of all predicted tokens; not finite if one loss is not."""
        total = sum(loss * (len(row) - 1) for row, loss in zip(self.rows, self.losses, strict=True))
        mean = total / self.tokens
        return math.exp(mean) if mean < math.log(np.finfo(np.float64).max) else math.inf


@dataclass(frozen=True, slots=True)
class Perplexity:
    """The perplexities of a reference and of a candidate on the same texts, which have `tokens` predicted tokens."""

    reference: float
    candidate: float
    tokens: int

    @property
    def change(self) -> float:
        """The relative difference: 0.01 if the candidate's is 1 % higher; NaN if the candidate's is."""
        return self.candidate / self.reference - 1.0


def compare(expected: ScoredTexts, losses: Sequence[float]) -> Perplexity:
    """Return both perplexities; `losses` are the candidate's, one for each text."""
    found = ScoredTexts(expected.rows, tuple(losses))
    return Perplexity(expected.perplexity, found.perplexity, expected.tokens)


def perplexity_problems(found: Perplexity, precision: str, asked: Strictness, *, reference: str) -> Iterator[str]:
    """Yield why a candidate of `precision` does not pass. A lower perplexity is as suspicious as a higher one: rounding
    errors move it by little in either direction."""
    if not math.isfinite(found.candidate):
        yield f"the log-probabilities of real text are not finite: its perplexity is {found.candidate}"
        return
    limit = perplexity_limit(precision, asked)
    if not abs(found.change) <= limit:
        yield (
            f"its perplexity on {found.tokens} tokens of real text is {found.candidate:.4g}, that of {reference} "
            f"{found.reference:.4g}: {found.change:+.2%} (allowed: {100 * limit:g}% either way)"
        )
