"""The tokens that can be sampled under the rules of transformers: filters that exclude the others.

They are applied after the processors of `transformers_order.py` and after the temperature, in the order of the table;
each is a function of scores [n, vocabulary]. Source: transformers 5, `generation/logits_process.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from slipway.transformer.generation import Decoding, TransformersRules

_ENTROPY_CANDIDATES: Final = 100  # as top_h in transformers
_WIDTHS: Final = (64, 1024)  # a nucleus is looked for among this many before all are sorted

Filter = Callable[[Tensor], Tensor]


def filters(decoding: Decoding, rules: TransformersRules) -> list[Filter]:
    """Return the filters of a row's scores, which are already divided by the temperature."""
    asked: list[tuple[bool, Filter]] = [
        (rules.top_h > 0, lambda scores: entropy_share(scores, rules.top_h)),
        (decoding.top_k > 0, lambda scores: best(scores, decoding.top_k)),
        (0 < decoding.top_p < 1, lambda scores: nucleus(scores, decoding.top_p)),
        (rules.min_p > 0, lambda scores: near_best(scores, rules.min_p)),
        (rules.typical_p < 1, lambda scores: typical(scores, rules.typical_p)),
        (0 < rules.epsilon_cutoff < 1, lambda scores: likely(scores, rules.epsilon_cutoff)),
        (0 < rules.eta_cutoff < 1, lambda scores: likely_for_entropy(scores, rules.eta_cutoff)),
    ]
    return [each for wanted, each in asked if wanted]


def entropy_share(scores: Tensor, share: float) -> Tensor:
    """Keep the best tokens whose terms of the entropy add up to `share` of it; always the best one."""
    top, ids = scores.topk(min(_ENTROPY_CANDIDATES, scores.shape[-1]))
    logarithms = top.log_softmax(dim=-1)
    terms = -torch.special.xlogy(logarithms.exp(), logarithms.exp())
    kept = terms.cumsum(dim=-1) <= terms.sum(dim=-1, keepdim=True) * share
    kept[:, 0] = True
    return _only(scores, torch.zeros_like(scores, dtype=torch.bool).scatter(1, ids, kept))


def best(scores: Tensor, count: int) -> Tensor:
    """Keep the best `count` tokens, and every token that ties with the last of them."""
    least = scores.topk(min(count, scores.shape[-1])).values[:, -1:]
    return _only(scores, scores >= least)


def nucleus(scores: Tensor, mass: float) -> Tensor:
    """Keep the smallest set of best tokens whose probabilities add up to `mass`."""
    total = torch.logsumexp(scores, dim=-1, keepdim=True)
    for width in (*_WIDTHS, scores.shape[-1]):
        top, ids = scores.topk(min(width, scores.shape[-1]))
        shares = (top - total).exp()
        before = shares.cumsum(dim=-1) - shares
        if len(ids[0]) == scores.shape[-1] or bool((before[:, -1] >= mass).all()):
            break
    kept = before < mass
    kept[:, 0] = True
    return _only(scores, torch.zeros_like(scores, dtype=torch.bool).scatter(1, ids, kept))


def near_best(scores: Tensor, share: float) -> Tensor:
    """Keep tokens at least `share` times as probable as the best one."""
    probabilities = scores.softmax(dim=-1)
    highest = probabilities.amax(dim=-1, keepdim=True)
    return _only(scores, (probabilities >= highest * share) | (probabilities == highest))


def typical(scores: Tensor, mass: float) -> Tensor:
    """Keep the tokens whose information is closest to the entropy, until their probabilities add up to `mass`."""
    logarithms = scores.log_softmax(dim=-1)
    probabilities = logarithms.exp()
    entropy = -(logarithms * probabilities).nansum(dim=-1, keepdim=True)
    distances, ids = (-logarithms - entropy).abs().sort(dim=-1)
    sums = probabilities.gather(1, ids).cumsum(dim=-1)
    last = (sums < mass).sum(dim=-1, keepdim=True).clamp(max=scores.shape[-1] - 1)
    kept = distances <= distances.gather(1, last)
    kept[:, 0] = True
    return _only(scores, torch.zeros_like(kept).scatter(1, ids, kept))


def likely(scores: Tensor, least: float) -> Tensor:
    """Keep tokens with a probability of at least `least`; always the best one."""
    return _only(scores, (scores.softmax(dim=-1) >= least) | (scores >= scores.amax(dim=-1, keepdim=True)))


def likely_for_entropy(scores: Tensor, epsilon: float) -> Tensor:
    """Keep tokens above the lower of `epsilon` and a bound that depends on the entropy (eta sampling)."""
    logarithms = scores.log_softmax(dim=-1)
    probabilities = logarithms.exp()
    entropy = -torch.special.xlogy(probabilities, probabilities).sum(dim=-1, keepdim=True)
    bound = (epsilon**0.5 * (-entropy).exp()).clamp(max=epsilon)
    return _only(scores, (probabilities >= bound) | (scores >= scores.amax(dim=-1, keepdim=True)))


def _only(scores: Tensor, kept: Tensor) -> Tensor:
    return scores.masked_fill(~kept, -torch.inf)
