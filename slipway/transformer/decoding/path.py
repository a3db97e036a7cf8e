"""A hypothesis of a beam: an immutable sequence of tokens with its log-probability."""

from __future__ import annotations

from dataclasses import dataclass

from slipway.transformer.generation import Hypothesis


@dataclass(frozen=True, slots=True)
class BeamHypothesis:
    """What was generated along one way through the beam."""

    ids: tuple[int, ...] = ()
    total: float = 0.0  # the sum of the figures
    figures: tuple[float, ...] = ()

    def extended(self, token: int, log_probability: float) -> BeamHypothesis:
        """Return the path with one more token."""
        return BeamHypothesis((*self.ids, token), self.total + log_probability, (*self.figures, log_probability))

    def hypothesis(self, score: float, *, figures: bool) -> Hypothesis:
        """Return the finished path, with the figures of each token where they are wanted."""
        return Hypothesis(self.ids, self.total, score, self.figures if figures else ())
