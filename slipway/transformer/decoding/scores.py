"""Log-probabilities of one step, finite for any output of a model.

A broken or overflowing model may harm only its own row: a score that is not a number counts as impossible, an infinite
one as the largest number, and a hypothesis without any possible token can only end.
"""

from __future__ import annotations

import logging
from typing import Final

import torch
from torch import Tensor

_LOG: Final = logging.getLogger("slipway.transformer")
_LARGEST = 1e30  # sums and differences of two such figures still fit in float32


def normalise(logits: Tensor, end_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return scores [n, vocabulary] without NaN or +inf, and the logarithm of their sum of exponentials [n].

    `end_ids` int64 [n] is the token that remains for a hypothesis without any possible token. Scores without a fault
    are returned as they are.
    """
    total = torch.logsumexp(logits, dim=-1)
    if bool(torch.isfinite(total).all()):
        return logits, total
    logits = logits.nan_to_num(nan=-torch.inf, posinf=_LARGEST, neginf=-torch.inf)
    total = torch.logsumexp(logits, dim=-1)
    hopeless = torch.isinf(total).nonzero().flatten()
    if len(hopeless):
        _LOG.warning("no token has a finite score in %d of %d hypotheses; they end here", len(hopeless), len(logits))
        ends = end_ids[hopeless]
        logits[hopeless, ends.where((ends >= 0) & (ends < logits.shape[-1]), 0)] = 0.0
        total = total.index_fill(0, hopeless, 0.0)
    return logits, total
