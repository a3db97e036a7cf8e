"""Cross entropy from hidden states, in chunks: the scores over the vocabulary of all tokens never exist at once.

2 000 tokens with 33 708 entries are 270 MB of scores, and as much again for probabilities and gradients. Here a chunk's
scores turn into its gradients while they are in memory, in the forward pass; backward only scales them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import log
from typing import Any, Final

import torch
from torch import Tensor

from slipway.transformer.module.linear import PackedLinear, PlainLinear, can_pack

# Scores at once, which stay in the processor's cache. Measured with 1 024 tokens of 256 numbers on one core (AMD EPYC),
# in milliseconds, by rows of a chunk: 8 190 entries 200 (1 024), 170 (256); 33 708 entries 860 (1 024), 710 (128).
_CHUNK_ELEMENTS: Final = 1 << 21
_LEAST_ROWS: Final = 128


def smoothed_cross_entropy(hidden: Tensor, table: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Return the sum over tokens of the cross entropy with smoothed labels, less its least value (tensor2tensor's
    `smoothing_cross_entropy`), as a scalar with gradients for `hidden` [tokens, hidden] and `table` [V, hidden].

    The label has probability 1 - `smoothing`, every other entry of the vocabulary an equal share of the rest.
    """
    loss: Tensor = _SmoothedCrossEntropy.apply(hidden, table, labels, smoothing)  # type: ignore[no-untyped-call]
    return loss


def least_loss(vocabulary: int, smoothing: float) -> float:
    """Return the entropy of a smoothed label, which no prediction can go below."""
    if not smoothing or vocabulary < 2:
        return 0.0
    low = smoothing / (vocabulary - 1)
    return -((1 - smoothing) * log(1 - smoothing) + (vocabulary - 1) * low * log(low + 1e-20))


@dataclass(frozen=True, slots=True)
class LossSum:
    """What an evaluation needs of one batch: the sum of the cross entropies in nats, and the best id of each token."""

    nats: float
    best: Tensor  # int64 [tokens]

    @classmethod
    def of(cls, hidden: Tensor, table: Tensor, labels: Tensor) -> LossSum:
        """Return the sums for hidden states at the labels' positions, without a graph."""
        nats, best = 0.0, []
        for part in _chunks(len(hidden), len(table)):
            scores = (hidden[part] @ table.t()).float()
            best.append(scores.argmax(-1))
            nats += float(torch.nn.functional.cross_entropy(scores, labels[part], reduction="sum"))
        return cls(nats, torch.cat(best) if best else labels)


class _SmoothedCrossEntropy(torch.autograd.Function):
    """The loss and both gradients, computed in the forward pass."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, table: Tensor, labels: Tensor, smoothing: float) -> Tensor:
        """See `smoothed_cross_entropy`."""
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
        states, entries = hidden.to(dtype), table.to(dtype)
        head = PackedLinear(entries, None) if kind == "cpu" and can_pack(dtype) else PlainLinear(entries, None)
        vocabulary = len(table)
        low = smoothing / max(1, vocabulary - 1)
        high = 1 - smoothing
        hidden_gradient, table_gradient = torch.empty_like(states), torch.zeros_like(entries)
        total = hidden.new_zeros((), dtype=torch.float32)
        for part in _chunks(len(hidden), vocabulary):
            chunk, index = states[part], labels[part, None]
            scores = head(chunk).float()
            right, every = scores.gather(1, index), scores.sum(-1, keepdim=True)
            largest = scores.amax(-1, keepdim=True)
            masses = scores.sub_(largest).exp_().sum(-1, keepdim=True)
            normaliser = masses.log() + largest
            total -= (high - low) * (right - normaliser).sum() + low * (every - vocabulary * normaliser).sum()
            gradient = scores.div_(masses).sub_(low).scatter_add_(1, index, torch.full_like(right, low - high))
            gradient = gradient.to(dtype)
            torch.mm(gradient, entries, out=hidden_gradient[part])
            table_gradient.addmm_(gradient.t(), chunk)
        ctx.save_for_backward(hidden_gradient.to(hidden.dtype), table_gradient.to(table.dtype))
        return total - least_loss(vocabulary, smoothing) * len(hidden)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """Scale the gradients, which are used once, in place."""
        hidden_gradient, table_gradient = ctx.saved_tensors
        return hidden_gradient.mul_(gradients[0]), table_gradient.mul_(gradients[0]), None, None


def _chunks(tokens: int, vocabulary: int) -> Iterator[slice]:
    rows = max(_LEAST_ROWS, _CHUNK_ELEMENTS // vocabulary)
    return (slice(start, min(tokens, start + rows)) for start in range(0, tokens, rows))
