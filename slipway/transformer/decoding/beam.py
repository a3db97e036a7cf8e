"""The part that every beam search shares: the best continuations of several hypotheses, and the seam of the rules.

Every rule takes the best tokens of each hypothesis first, then the best of all those. Rules differ in how they score
them, which is a linear function per hypothesis and rank, and in what they do with hypotheses that end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from slipway.transformer.decoding.hypothesis import BeamHypothesis
from slipway.transformer.generation import Hypothesis


@dataclass(frozen=True, slots=True)
class BeamCandidate:
    """Hypothesis number `parent` with one more token, and the score to select it by."""

    parent: int
    hypothesis: BeamHypothesis
    score: float

    @property
    def token(self) -> int:
        """The token that the parent is continued with."""
        return self.hypothesis.ids[-1]


@dataclass(frozen=True, slots=True)
class Distribution:
    """The scores [n, vocabulary] of the next token of n hypotheses, and their log-sums of exponentials [n]."""

    logits: Tensor
    totals: Tensor

    def best(
        self,
        hypotheses: Sequence[BeamHypothesis],
        count: int,
        *,
        per_parent: int,
        factor: float = 1.0,
        per_rank: float = 0.0,
    ) -> list[BeamCandidate]:
        """Return the best `count` possible continuations, best first.

        Each hypothesis contributes its `per_parent` most probable tokens. The score is log-probability times `factor`
        plus `per_rank` times the token's rank (from 0) in its parent's list.
        """
        width = min(per_parent, self.logits.shape[-1])
        best, ids = self.logits.topk(width, dim=-1)
        # float64: differences between hypotheses of hundreds of tokens are smaller than float32's steps.
        steps = best.double() - self.totals.double().unsqueeze(-1)
        cumulative = steps + steps.new_tensor([hypothesis.total for hypothesis in hypotheses]).unsqueeze(-1)
        scores = cumulative * factor
        if per_rank:
            scores = scores + per_rank * torch.arange(width, device=scores.device)
        order = scores.flatten().topk(min(count, scores.numel()))
        found = zip(
            order.indices.tolist(),
            order.values.tolist(),
            ids.flatten()[order.indices].tolist(),
            steps.flatten()[order.indices].tolist(),
            strict=True,
        )
        return [
            BeamCandidate(place // width, hypotheses[place // width].extended(token, step), score)
            for place, score, token, step in found
            if step > -torch.inf
        ]


@dataclass(frozen=True, slots=True)
class BeamUpdate:
    """New hypothesis i continues the former `parents[i]` with `tokens[i]`; a finished row has results instead."""

    parents: Sequence[int] = ()
    tokens: Sequence[int] = ()
    finished: Sequence[Hypothesis] | None = None


class SearchRule(Protocol):
    """How the hypotheses of one row are continued, finished and ranked."""

    @property
    def hypotheses(self) -> Sequence[BeamHypothesis]:
        """The hypotheses that continue, one per row of the next distribution."""

    def advance(self, distribution: Distribution) -> BeamUpdate:
        """Continue all hypotheses by one token."""
