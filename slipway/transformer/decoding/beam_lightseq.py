"""Beam search as LightSeq does it: finished hypotheses keep their place in the beam until all have ended.

A score is log-probability / GNMT penalty of the hypothesis's own length, including the end token. With a negative
penalty scores are not normalised during the search, and at the end the sum is divided by the number of tokens before
the end token. A hypothesis that reaches the last column gets the end token there at no cost. Knows no other rule.
"""

from __future__ import annotations

from dataclasses import dataclass

from slipway.transformer.decoding.beam import BeamUpdate, Distribution
from slipway.transformer.decoding.hypothesis import BeamHypothesis, EndCondition, gnmt_penalty
from slipway.transformer.generation import Decoding, Hypothesis


@dataclass(frozen=True, slots=True)
class _Place:
    """A hypothesis in the beam: alive, with the parent that it continues, or finished."""

    hypothesis: BeamHypothesis
    score: float  # normalised, without diversity
    parent: int | None


class LightSeqBeam:
    """The alive and the finished hypotheses of one row's beam."""

    def __init__(self, decoding: Decoding) -> None:
        self.hypotheses: list[BeamHypothesis] = [BeamHypothesis()]
        self._decoding = decoding
        self._end = EndCondition(decoding)
        self._finished: list[_Place] = []

    def advance(self, distribution: Distribution) -> BeamUpdate:
        """Fill the beam with the best continuing and finished hypotheses; end when all are finished, or at the last
        column."""
        if self._decoding.max_tokens == 1:  # the first column is the last one
            ended = _Place(BeamHypothesis().extended(self._decoding.end_id, 0.0), 0.0, None)
            return BeamUpdate(finished=self._results([ended] * self._decoding.beam_width))
        length = len(self.hypotheses[0].ids) + 1
        places = self._best(distribution, length)
        self._finished = [place for place in places if place.parent is None or self._end.met(place.hypothesis.ids)]
        alive = [place for place in places if not (place.parent is None or self._end.met(place.hypothesis.ids))]
        if not alive or length >= self._decoding.max_tokens - 1:
            return BeamUpdate(finished=self._results(places))
        self._finished = [_Place(place.hypothesis, place.score, None) for place in self._finished]
        self.hypotheses = [place.hypothesis for place in alive]
        return BeamUpdate([place.parent or 0 for place in alive], [place.hypothesis.ids[-1] for place in alive])

    def _best(self, distribution: Distribution, length: int) -> list[_Place]:
        """Return the beam's next places, best first.

        Diversity subtracts its rate once per rank, from 1, in the parent's list; a finished hypothesis has rank 1.
        """
        decoding = self._decoding
        rate = decoding.diversity
        factor = 1.0 if decoding.length_penalty < 0 else 1.0 / gnmt_penalty(length, decoding.length_penalty)
        width = decoding.beam_width
        candidates = distribution.best(self.hypotheses, width, per_parent=width, factor=factor, per_rank=-rate)
        ranked = [(place.score - rate, place) for place in self._finished]
        ranked += [
            (each.score - rate, _Place(each.hypothesis, each.hypothesis.total * factor, each.parent))
            for each in candidates
        ]
        ranked.sort(key=lambda entry: entry[0], reverse=True)
        return [place for _, place in ranked[:width]]

    def _results(self, places: list[_Place]) -> list[Hypothesis]:
        """Return the beam's hypotheses, best first; those still alive get the end token in the last column."""
        decoding = self._decoding
        results = []
        for place in places:
            hypothesis, score = place.hypothesis, place.score
            if decoding.length_penalty < 0:
                score = hypothesis.total / max(1, sum(token != decoding.end_id for token in hypothesis.ids))
            if not self._end.met(hypothesis.ids):
                hypothesis = hypothesis.extended(decoding.end_id, 0.0)
            results.append(hypothesis.result(score, figures=decoding.log_probabilities))
        return sorted(results, key=lambda result: result.score, reverse=True)
