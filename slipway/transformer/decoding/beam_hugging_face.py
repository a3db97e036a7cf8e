"""Beam search as transformers and FasterTransformer do it.

Of the 2K candidates, those that end count only if they are among the best K; they go to a pool of the K best finished
ones, ranked by log-probability / length ** penalty. The best K of the others continue. Knows no other rule.
"""

from __future__ import annotations

from slipway.transformer.decoding.beam import BeamCandidate, BeamUpdate, Distribution
from slipway.transformer.decoding.hypothesis import BeamHypothesis, EndCondition, power_penalty
from slipway.transformer.generation import Decoding


class HuggingFaceBeam:
    """The alive hypotheses and the pool of finished ones of one row."""

    def __init__(self, decoding: Decoding) -> None:
        self.hypotheses: list[BeamHypothesis] = [BeamHypothesis()]
        self._decoding = decoding
        self._end = EndCondition(decoding)
        self._pool: list[tuple[float, BeamHypothesis]] = []  # score and hypothesis, best first

    def advance(self, distribution: Distribution) -> BeamUpdate:
        """Continue and finish hypotheses; end when no alive one can become better than the pool."""
        decoding = self._decoding
        length = len(self.hypotheses[0].ids) + 1
        last = length >= decoding.max_tokens
        penalty = power_penalty(length, decoding.length_penalty)
        candidates, alive = self._candidates(distribution)
        for candidate in candidates[: decoding.beam_width]:
            if last or self._end.met(candidate.hypothesis.ids):
                self._pool.append((candidate.hypothesis.total / penalty, candidate.hypothesis))
        self._pool.sort(key=lambda entry: entry[0], reverse=True)
        del self._pool[decoding.beam_width :]
        if last or not alive or self._decided(alive[0].hypothesis.total, length):
            if not self._pool:  # every continuation is forbidden
                self._pool = [(hypothesis.total / penalty, hypothesis) for hypothesis in self.hypotheses]
            figures = decoding.log_probabilities
            return BeamUpdate(finished=[hypothesis.result(score, figures=figures) for score, hypothesis in self._pool])
        self.hypotheses = [candidate.hypothesis for candidate in alive]
        return BeamUpdate([candidate.parent for candidate in alive], [candidate.token for candidate in alive])

    def _candidates(self, distribution: Distribution) -> tuple[list[BeamCandidate], list[BeamCandidate]]:
        """Return the best continuations, and those that do not end; look at more while stop words end too many of them.

        FasterTransformer's diversity adds its rate once per rank that a candidate has among its siblings.
        """
        width = self._decoding.beam_width
        rules = self._decoding.rules
        everything = len(self.hypotheses) * distribution.logits.shape[-1]
        per_parent = (2 if rules is None else max(2, 1 + len(rules.end_ids))) * width
        while True:
            candidates = distribution.best(
                self.hypotheses, per_parent, per_parent=per_parent, per_rank=self._decoding.diversity
            )
            alive = [candidate for candidate in candidates if not self._end.met(candidate.hypothesis.ids)][:width]
            # transformers does not look further: it goes on with fewer hypotheses if stop texts end the others
            enough = len(alive) == width or per_parent >= everything or not self._decoding.stop_words
            if enough or rules is not None:
                return candidates, alive
            per_parent *= 2

    def _decided(self, best_total: float, length: int) -> bool:
        """Return whether the pool is full and, unless that is enough, no alive hypothesis can beat it."""
        decoding = self._decoding
        if len(self._pool) < decoding.beam_width:
            return False
        never = decoding.rules is not None and decoding.rules.never_early and decoding.length_penalty > 0
        reached = decoding.max_tokens if never else length
        return (
            decoding.early_stopping
            or best_total / power_penalty(reached, decoding.length_penalty) <= (self._pool[-1][0])
        )
