"""Beam search as tensor2tensor does it: K alive and K finished hypotheses, both by log-probability / GNMT penalty.

All of 2K candidates may finish. The search ends when the best finished one is beyond the reach of the best alive one
at the longest possible length. Knows no other rule.
"""

from __future__ import annotations

from slipway.transformer.decoding.beam import BeamCandidate, Distribution
from slipway.transformer.decoding.length import gnmt_penalty
from slipway.transformer.decoding.path import BeamHypothesis
from slipway.transformer.decoding.rule import BeamUpdate
from slipway.transformer.decoding.word_lists import StopWords
from slipway.transformer.generation import Decoding


class GnmtBeam:
    """The alive and the finished hypotheses of one row."""

    def __init__(self, decoding: Decoding) -> None:
        self.paths: list[BeamHypothesis] = [BeamHypothesis()]
        self._decoding = decoding
        self._stop_words = StopWords.of(decoding.stop_words)
        self._finished: list[tuple[float, BeamHypothesis]] = []  # score and path, best first

    def advance(self, distribution: Distribution) -> BeamUpdate:
        """Continue and finish; without anything finished at the last length, what is alive is the result."""
        decoding = self._decoding
        width = decoding.beam_width
        length = len(self.paths[0].ids) + 1
        penalty = gnmt_penalty(length, decoding.length_penalty)
        candidates = distribution.best(self.paths, 2 * width, per_parent=2 * width, factor=1.0 / penalty)
        ended = [candidate for candidate in candidates if self._ends(candidate.path)]
        alive = [candidate for candidate in candidates if not self._ends(candidate.path)][:width]
        self._finished += [(candidate.score, candidate.path) for candidate in ended]
        self._finished.sort(key=lambda entry: entry[0], reverse=True)
        del self._finished[width:]
        if not alive or length >= decoding.max_tokens or self._decided(alive[0]):
            results = self._finished or [(candidate.score, candidate.path) for candidate in alive]
            return BeamUpdate(
                finished=[path.hypothesis(score, figures=decoding.log_probabilities) for score, path in results]
            )
        self.paths = [candidate.path for candidate in alive]
        return BeamUpdate([candidate.parent for candidate in alive], [candidate.token for candidate in alive])

    def _ends(self, path: BeamHypothesis) -> bool:
        return path.ids[-1] == self._decoding.end_id or self._stop_words.match(path.ids)

    def _decided(self, best_alive: BeamCandidate) -> bool:
        """Return whether nothing alive can overtake the best finished hypothesis any more."""
        longest = gnmt_penalty(self._decoding.max_tokens, self._decoding.length_penalty)
        return bool(self._finished) and self._finished[0][0] > best_alive.path.total / longest
