"""LightSeq's topk_greedy: the first step's best tokens, each followed greedily to its own end.

The results keep the order of their first tokens, so the first one is what greedy search would have given.
"""

from __future__ import annotations

from slipway.transformer.decoding.beam import BeamCandidate, Distribution
from slipway.transformer.decoding.path import BeamHypothesis
from slipway.transformer.decoding.rule import BeamUpdate
from slipway.transformer.decoding.word_lists import StopWords
from slipway.transformer.generation import Decoding


class GreedyBranches:
    """The branches of one row: those that go on and those that have ended."""

    def __init__(self, decoding: Decoding) -> None:
        self.paths: list[BeamHypothesis] = [BeamHypothesis()]
        self._decoding = decoding
        self._stop_words = StopWords.of(decoding.stop_words)
        self._open: list[int] = []  # the branch that each path belongs to
        self._ended: dict[int, BeamHypothesis] = {}

    def advance(self, distribution: Distribution) -> BeamUpdate:
        """Open the branches at the first step, then give each its best token."""
        if not self._open:
            width = self._decoding.beam_width
            following = distribution.best(self.paths, width, per_parent=width)
            branches = list(range(len(following)))
        else:
            following = self._followed(distribution)
            branches = self._open
        going_on = []
        for branch, candidate in zip(branches, following, strict=True):
            if self._ends(candidate.path):
                self._ended[branch] = candidate.path
            else:
                going_on.append((branch, candidate))
        self._open = [branch for branch, _ in going_on]
        self.paths = [candidate.path for _, candidate in going_on]
        if not going_on:
            figures = self._decoding.log_probabilities
            ordered = [self._ended[branch] for branch in sorted(self._ended)]
            return BeamUpdate(finished=[path.hypothesis(path.total, figures=figures) for path in ordered])
        return BeamUpdate(
            [candidate.parent for _, candidate in going_on], [candidate.token for _, candidate in going_on]
        )

    def _followed(self, distribution: Distribution) -> list[BeamCandidate]:
        """Return the best continuation of each branch, in their order; equal scores give the lowest id."""
        best, ids = distribution.logits.max(dim=-1)
        steps = (best.double() - distribution.totals.double()).tolist()
        return [
            BeamCandidate(branch, path.extended(token, step), step)
            for branch, (path, token, step) in enumerate(zip(self.paths, ids.tolist(), steps, strict=True))
        ]

    def _ends(self, path: BeamHypothesis) -> bool:
        decoding = self._decoding
        ends = path.ids[-1] == decoding.end_id or self._stop_words.match(path.ids)
        return ends or len(path.ids) >= decoding.max_tokens
