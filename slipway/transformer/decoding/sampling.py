"""Choose one token from a distribution: the best, or a draw from the best k, the nucleus, or both.

A draw takes one uniform number from the row's own generator and walks down the sorted probabilities, so a row's result
does not depend on its batch-mates, and the random numbers are the same on every device.
"""

from __future__ import annotations

from math import inf
from typing import Final, Protocol

import torch
from torch import Tensor

from slipway.transformer.decoding.sampling_filters import filters
from slipway.transformer.generation import Decoding, TransformersRules

MOST_CANDIDATES = 1024  # FasterTransformer's largest top_k
_WIDTHS = (64, 1024)  # the nucleus is searched for among this many best tokens before all are sorted (0.1, 0.5, 3 ms)


class Sampler(Protocol):
    """How one row chooses its next token."""

    def choose(self, logits: Tensor, total: Tensor) -> tuple[int, float, float]:
        """Return a token of the scores float32 [vocabulary], its log-probability, and the figure reported for it."""


_COLDEST: Final = 1e-30  # below, scores overflow, and the best token has all the probability anyway


class UniformDraws:
    """The random numbers of one row, in [0, 1), independent of the batch."""

    def __init__(self, seed: int) -> None:
        self._random = torch.Generator().manual_seed(seed % 2**64)

    def next(self) -> float:
        """Return the next number."""
        return float(torch.rand((), generator=self._random, dtype=torch.float64))


class FilteredSampler:
    """How a row chooses under the rules of transformers: the best token, or a draw from those that the filters keep.

    A draw follows the order of the vocabulary, not that of the probabilities, so ties do not affect it.
    """

    def __init__(self, decoding: Decoding, rules: TransformersRules) -> None:
        self._draws = (decoding.top_k > 0 or decoding.top_p > 0.0) and decoding.temperature > _COLDEST
        self._temperature = decoding.temperature
        self._filters = filters(decoding, rules)
        self._random = UniformDraws(decoding.seed)

    def choose(self, logits: Tensor, total: Tensor) -> tuple[int, float, float]:
        """Return a token of the scores float32 [vocabulary], its log-probability, and the figure reported for it: its
        log-probability among the tokens that the filters keep."""
        if not self._draws:
            best, index = logits.max(dim=-1)
            figure = float(best.double() - total.double())
            return int(index), figure, figure
        scores = logits / self._temperature
        filtered = scores.unsqueeze(0)
        for each in self._filters:
            filtered = each(filtered)
        token, share = drawn(filtered[0], self._random.next())
        return token, float(scores[token].double() - torch.logsumexp(scores.double(), dim=-1)), share


def drawn(scores: Tensor, point: float) -> tuple[int, float]:
    """Return the token of float32 [vocabulary] at which the cumulative probability from id 0 exceeds `point`, and its
    own log-probability."""
    shares = scores.double().softmax(dim=-1)
    sums = shares.cumsum(dim=-1)
    place = int(torch.searchsorted(sums, sums[-1] * point, right=True))
    last = int(shares.nonzero()[-1])  # rounding may leave the sum a little below 1
    token = min(place, last)
    return token, float(shares[token].log())


class TokenSampler:
    """One row's sampling settings and random numbers, as in FasterTransformer."""

    def __init__(self, decoding: Decoding) -> None:
        self._top_k = 1 if not (decoding.top_k or decoding.top_p) else min(decoding.top_k, MOST_CANDIDATES)
        self._nucleus = Nucleus(decoding)
        self._random = UniformDraws(decoding.seed)

    def choose(self, logits: Tensor, total: Tensor) -> tuple[int, float, float]:
        """Choose a token by the scores float32 [vocabulary]; return it, its log-probability and the figure to report.

        `total` is the logarithm of the scores' sum of exponentials. The figure is normalised within the best k if the
        token is drawn from them; greedy search and the pure nucleus report the full softmax's.
        """
        if self._top_k == 1:
            best, index = logits.max(dim=-1)
            token, figure = int(index), float(best.double() - total.double())
            self._nucleus.follow(token)
            return token, figure, figure
        point = self._random.next() * self._nucleus.mass
        draw = self._among_best if self._top_k else self._in_nucleus
        token, log_probability, figure = draw(logits, total, point)
        self._nucleus.follow(token)
        return token, log_probability, figure

    def _among_best(self, logits: Tensor, total: Tensor, point: float) -> tuple[int, float, float]:
        """Draw from the best k; `point` is a share of their mass."""
        best, ids = logits.topk(min(self._top_k, logits.shape[-1]))
        shares = best.double().softmax(dim=-1)
        place = _place(shares, point)
        token, score, share = int(ids[place]), float(best[place].double() - total.double()), float(shares[place].log())
        return token, score, share

    def _in_nucleus(self, logits: Tensor, total: Tensor, point: float) -> tuple[int, float, float]:
        """Draw from the smallest set with the nucleus's mass; `point` is a share of the total mass.

        Each pass sorts only the tokens that the passes before left over: equal scores are frequent in bfloat16 and may
        be ordered differently in a longer list, so a token could be counted twice.
        """
        left = logits.shape[-1]
        for width in (*_WIDTHS, left):
            best, ids = logits.topk(min(width, left))
            logarithms = best.double() - total.double()
            shares = logarithms.exp()
            mass = float(shares.sum())
            left -= len(ids)
            if mass > point or not left or float(best[-1]) == -inf:
                break
            point -= mass
            logits = logits.index_fill(0, ids, -inf)
        place = _place(shares, point)
        figure = float(logarithms[place])
        return int(ids[place]), figure, figure


class Nucleus:
    """The nucleus: `mass` is the share of the probability to draw from at the next step.

    It shrinks by `top_p_decay` with every token, to no less than `top_p_min`, and is reset after `top_p_reset_id`.
    Without `top_p` it is 1.
    """

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding
        self.mass = decoding.top_p or 1.0

    def follow(self, token: int) -> None:
        """Set the mass of the step after `token`."""
        decoding = self._decoding
        if decoding.top_p == 0.0:
            return
        decayed = max(self.mass * decoding.top_p_decay, decoding.top_p_min)
        self.mass = decoding.top_p if token == decoding.top_p_reset_id else decayed


def _place(shares: Tensor, point: float) -> int:
    """Return the index at which a walk down the sorted `shares` passes `point`, never that of an impossible token."""
    sums = shares.cumsum(dim=-1)
    place = int(torch.searchsorted(sums, sums.new_tensor(point), right=True))
    return min(place, max(0, int((shares > 0).sum()) - 1))  # by rounding, the sum may be slightly below 1
