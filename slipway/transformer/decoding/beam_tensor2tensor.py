"""Beam search as tensor2tensor does it: K alive and K finished hypotheses, both by log-probability / GNMT penalty.

All of the 2K candidates may finish. The search ends when the best alive hypothesis could not overtake the best finished
one even at the maximum length; if every beam is wanted, when it could not overtake the last of K finished ones. Knows
no other rule.
"""

from __future__ import annotations

from slipway.transformer.decoding.beam import BeamCandidate, BeamUpdate, Distribution
from slipway.transformer.decoding.hypothesis import BeamHypothesis, EndCondition, gnmt_penalty
from slipway.transformer.generation import Decoding


class Tensor2TensorBeam:
    """The alive and the finished hypotheses of one row."""

    def __init__(self, decoding: Decoding) -> None:
        self.hypotheses: list[BeamHypothesis] = [BeamHypothesis()]
        self._decoding = decoding
        self._end = EndCondition(decoding)
        self._finished: list[tuple[float, BeamHypothesis]] = []  # score and hypothesis, best first

    def advance(self, distribution: Distribution) -> BeamUpdate:
        """Continue and finish; if none is finished at the maximum length, the alive hypotheses are the result."""
        decoding = self._decoding
        width = decoding.beam_width
        length = len(self.hypotheses[0].ids) + 1
        penalty = gnmt_penalty(length, decoding.length_penalty)
        candidates = distribution.best(self.hypotheses, 2 * width, per_parent=2 * width, factor=1.0 / penalty)
        ended = [candidate for candidate in candidates if self._end.met(candidate.hypothesis.ids)]
        alive = [candidate for candidate in candidates if not self._end.met(candidate.hypothesis.ids)][:width]
        self._finished += [(candidate.score, candidate.hypothesis) for candidate in ended]
        self._finished.sort(key=lambda entry: entry[0], reverse=True)
        del self._finished[width:]
        if not alive or length >= decoding.max_tokens or self._decided(alive[0]):
            results = self._finished or [(candidate.score, candidate.hypothesis) for candidate in alive]
            return BeamUpdate(
                finished=[hypothesis.result(score, figures=decoding.log_probabilities) for score, hypothesis in results]
            )
        self.hypotheses = [candidate.hypothesis for candidate in alive]
        return BeamUpdate([candidate.parent for candidate in alive], [candidate.token for candidate in alive])

    def _decided(self, best_alive: BeamCandidate) -> bool:
        """Return whether no alive hypothesis can change the best result any more, or any result if all are wanted."""
        decoding = self._decoding
        wanted = decoding.beam_width if decoding.every_beam else 1
        longest = gnmt_penalty(decoding.max_tokens, decoding.length_penalty)
        return len(self._finished) >= wanted and self._finished[wanted - 1][0] > best_alive.hypothesis.total / longest
