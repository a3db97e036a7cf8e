"""Attention over padded rows, with gradients: queries, keys and values of all heads in one product."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from slipway.train.network.dropout import Dropout

MASKED: Final = -1e9  # tensor2tensor's score of a key that may not be seen


class PaddedAttention:
    """One block of heads. `prefix` names its four kernels among `weights`."""

    def __init__(self, weights: Mapping[str, Tensor], prefix: str, heads: int, dropout: Dropout) -> None:
        self._query, self._key, self._value, self._output = (
            weights[f"{prefix}/multihead_attention/{part}/kernel"] for part in ("q", "k", "v", "output_transform")
        )
        self._heads = heads
        self._scale = (self._query.shape[1] // heads) ** -0.5
        self._dropout = dropout

    def itself(self, x: Tensor, bias: Tensor | None, *, training: bool) -> Tensor:
        """Return the attention of each row [rows, length, hidden] to itself."""
        query, key, value = self._split(x @ torch.cat((self._query, self._key, self._value), dim=1), 3)
        return self._attend(query, key, value, bias, training=training)

    def other(self, x: Tensor, memory: Tensor, bias: Tensor | None, *, training: bool) -> Tensor:
        """Return the attention of each row to its encoded input, `memory` [rows, source length, hidden]."""
        (query,) = self._split(x @ self._query, 1)
        key, value = self._split(memory @ torch.cat((self._key, self._value), dim=1), 2)
        return self._attend(query, key, value, bias, training=training)

    def _split(self, projected: Tensor, parts: int) -> tuple[Tensor, ...]:
        """Return `parts` tensors [rows, heads, length, head size]."""
        rows, length, _ = projected.shape
        return projected.view(rows, length, parts, self._heads, -1).permute(2, 0, 3, 1, 4).unbind()

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, *, training: bool) -> Tensor:
        """Return [rows, length, hidden]; `bias` is added to the scores."""
        dropout = self._dropout if training else Dropout(0.0)
        if dropout.shared or (dropout.rate and not query.is_cuda):  # torch's fused attention has no such masks
            scores = (query * self._scale) @ key.transpose(-1, -2)
            if bias is not None:
                scores = scores + bias
            gathered = dropout(scores.softmax(-1)).to(value.dtype) @ value
        else:
            if bias is not None:
                bias = bias.to(query.dtype)
            gathered = functional.scaled_dot_product_attention(
                query, key, value, attn_mask=bias, dropout_p=dropout.rate, scale=self._scale
            )
        return gathered.transpose(1, 2).flatten(2) @ self._output


def padding_bias(padded: Tensor) -> Tensor | None:
    """Return the bias [rows, 1, 1, length] that masks keys, from bool [rows, length]; None if nothing is masked."""
    if not bool(padded.any()):
        return None
    return padded[:, None, None, :].float() * MASKED


def future_bias(length: int, like: Tensor) -> Tensor:
    """Return the bias [length, length] that masks later positions."""
    return torch.full((length, length), MASKED, device=like.device).triu_(1)
