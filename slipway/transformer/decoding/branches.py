"""LightSeq's topk_greedy: the first step's best tokens, each followed greedily to its own end.

The results keep the order of their first tokens, so the first one is the result of greedy search.
"""

from __future__ import annotations

from slipway.transformer.decoding.beam import BeamCandidate, BeamUpdate, Distribution
from slipway.transformer.decoding.hypothesis import BeamHypothesis, EndCondition
from slipway.transformer.generation import Decoding


class GreedyBranches:
    """The branches of one row: those that continue and those that have ended."""

    def __init__(self, decoding: Decoding) -> None:
        self.hypotheses: list[BeamHypothesis] = [BeamHypothesis()]
        self._decoding = decoding
        self._end = EndCondition(decoding)
        self._open: list[int] = []  # the branch that each hypothesis belongs to
        self._ended: dict[int, BeamHypothesis] = {}

    def advance(self, distribution: Distribution) -> BeamUpdate:
        """Open the branches at the first step; after that, continue each with its best token."""
        if not self._open:
            width = self._decoding.beam_width
            following = distribution.best(self.hypotheses, width, per_parent=width)
            branches = list(range(len(following)))
        else:
            following = self._followed(distribution)
            branches = self._open
        going_on = []
        for branch, candidate in zip(branches, following, strict=True):
            if self._ends(candidate.hypothesis):
                self._ended[branch] = candidate.hypothesis
            else:
                going_on.append((branch, candidate))
        self._open = [branch for branch, _ in going_on]
        self.hypotheses = [candidate.hypothesis for _, candidate in going_on]
        if not going_on:
            figures = self._decoding.log_probabilities
            ordered = [self._ended[branch] for branch in sorted(self._ended)]
            return BeamUpdate(finished=[hypothesis.result(hypothesis.total, figures=figures) for hypothesis in ordered])
        return BeamUpdate(
            [candidate.parent for _, candidate in going_on], [candidate.token for _, candidate in going_on]
        )

    def _followed(self, distribution: Distribution) -> list[BeamCandidate]:
        """Return the best continuation of each branch, in order; of equal scores, the lowest id wins."""
        best, ids = distribution.logits.max(dim=-1)
        steps = (best.double() - distribution.totals.double()).tolist()
        return [
            BeamCandidate(branch, hypothesis.extended(token, step), step)
            for branch, (hypothesis, token, step) in enumerate(zip(self.hypotheses, ids.tolist(), steps, strict=True))
        ]

    def _ends(self, hypothesis: BeamHypothesis) -> bool:
        return self._end.met(hypothesis.ids) or len(hypothesis.ids) >= self._decoding.max_tokens
