"""Queries, keys and values, and the one formula. Which tokens look at which is the business of `whole` (a sequence at
itself), `cache` (the newest token at those before) and `cross` (a decoder at an encoder)."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from slipway.transformer.module.inputs import TokenFeatures
from slipway.transformer.module.layer_builder import LayerBuilder
from slipway.transformer.spec import Stack


class AttentionView(Protocol):
    """Who looks at whom: what the attention of a layer is given besides its projections."""

    def attend(self, layer: int, projected: Tensor) -> Tensor:
        """Return what each token gathered, [tokens, attention], from queries (and keys and values) side by side."""


class Attention:
    """The projections of one layer: into queries, keys and values in one product, and out."""

    def __init__(self, arrays: LayerBuilder, prefix: str, layer: int, stack: Stack) -> None:
        self._layer = layer
        self._into = arrays.linear(*(f"{prefix}.{part}" for part in ("query", "key", "value")))
        self._out = arrays.linear(f"{prefix}.output")
        self._scale = key_value_scale(arrays, prefix, stack, with_query=True)

    def __call__(self, x: Tensor, view: AttentionView, features: TokenFeatures) -> Tensor:
        """Return [tokens, hidden]; `features` are per token."""
        projected = self._into(x)
        if self._scale is not None and features.tasks is not None:
            projected = projected * self._scale[features.tasks]
        return self._out(view.attend(self._layer, projected))


class CrossAttention:
    """The projections of a decoder layer that looks at an encoder, whose side is computed once per row (`memory`)."""

    def __init__(self, arrays: LayerBuilder, prefix: str, layer: int, stack: Stack) -> None:
        self._layer = layer
        self._query = arrays.linear(f"{prefix}.query")
        self._memory = arrays.linear(f"{prefix}.key", f"{prefix}.value")
        self._out = arrays.linear(f"{prefix}.output")
        self._scale = key_value_scale(arrays, prefix, stack, with_query=False)

    def memory(self, encoded: Tensor, features: TokenFeatures) -> Tensor:
        """Return keys and values side by side, [tokens, 2 attention], of an encoder's hidden states."""
        projected = self._memory(encoded)
        if self._scale is not None and features.tasks is not None:
            projected = projected * self._scale[features.tasks]
        return projected

    def __call__(self, x: Tensor, view: AttentionView) -> Tensor:
        """Return [tokens, hidden]."""
        return self._out(view.attend(self._layer, self._query(x)))


def attend(query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, *, scale: float) -> Tensor:
    """Return softmax(scale Q K^T + bias) V; all [rows, heads, tokens, head size]."""
    return functional.scaled_dot_product_attention(query, keys, values, attn_mask=bias, scale=scale)


def attend_with_probabilities(
    query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, *, scale: float
) -> tuple[Tensor, Tensor]:
    """Return what `attend` returns, and the probabilities [rows, heads, queries, keys]."""
    scores = torch.matmul(query, keys.transpose(2, 3)) * scale
    if bias is not None:
        scores = scores + bias
    probabilities = scores.softmax(-1)
    return torch.matmul(probabilities, values), probabilities


def key_value_scale(arrays: LayerBuilder, prefix: str, stack: Stack, *, with_query: bool) -> Tensor | None:
    """Return IA3's scales of keys and values side by side (ones for queries), a last row of ones for "no task"."""
    if not stack.adapter_tasks:
        return None
    parts = [arrays.tensor(f"{prefix}.{part}_scale") for part in ("key", "value")]
    scales = torch.cat([torch.ones_like(parts[0]), *parts] if with_query else parts, dim=1)
    return with_no_task(scales)


def with_no_task(scales: Tensor) -> Tensor:
    """Return IA3 scales [tasks, n] with a last row of ones: what a row without a task takes."""
    return torch.cat([scales, scales.new_ones(1, scales.shape[1])])
