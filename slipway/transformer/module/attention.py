"""Split a projection into the queries, keys and values of its heads, and compute attention over them.

A view decides which tokens attend to which: `full_sequence` (a sequence to itself), `key_value_cache` (the newest token
to the earlier ones) and `cross_attention_cache` (a decoder to an encoder).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from slipway.transformer.module.inputs import TokenFeatures
from slipway.transformer.module.layer_builder import LayerBuilder
from slipway.transformer.module.projection_norm import projection_norm
from slipway.transformer.module.rotation import row_order
from slipway.transformer.spec import Stack


@dataclass(frozen=True, slots=True)
class Heads:
    """The layout of a projection: queries, keys and values side by side. Queries have `count` heads that are `width`
    wide in total; `sharing` neighbouring ones share a head of keys and values. Split parts are views, [rows, heads,
    tokens, head size]."""

    count: int
    width: int
    sharing: int = 1

    @classmethod
    def of(cls, stack: Stack) -> Heads:
        """Return the heads of a stack's attention."""
        return cls(stack.heads, stack.attention, stack.attention // stack.key_value)

    @property
    def key_value_width(self) -> int:
        """The width of the keys, and of the values."""
        return self.width // self.sharing

    def split(self, projected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values of a projection [rows, tokens, width + 2 key-value width]."""
        if self.sharing == 1:
            query, key, value = self._parts(projected, 3)
            return query, key, value
        query = projected[..., : self.width].view(*projected.shape[:2], self.count, -1).transpose(1, 2)
        return query, *self.split_keys_values(self.keys_values(projected))

    def split_keys_values(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values of [rows, tokens, 2 key-value width], the part of a projection that caches keep."""
        key, value = self._parts(projected, 2)
        return key, value

    def split_queries(self, projected: Tensor, rows: int) -> Tensor:
        """Return queries of [rows * tokens, width]."""
        return projected.view(rows, -1, self.count, self.width // self.count).transpose(1, 2)

    def split_step(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """Split one token per row [rows, ...] into queries and the part [rows, 2 key-value width] that a cache
        appends."""
        query, appended = projected.split_with_sizes((self.width, 2 * self.key_value_width), dim=-1)
        return query.view(projected.shape[0], self.count, 1, -1), appended

    def keys_values(self, projected: Tensor) -> Tensor:
        """Return the keys and values of a projection [..., width + 2 key-value width], still side by side."""
        return projected[..., self.width :]

    def join(self, gathered: Tensor) -> Tensor:
        """Return the outputs of the heads as [rows * tokens, width]; a copy unless each row has one token."""
        return gathered.transpose(1, 2).reshape(-1, self.width)

    def _parts(self, projected: Tensor, count: int) -> tuple[Tensor, ...]:
        rows, tokens, _ = projected.shape
        return projected.view(rows, tokens, count, self.count // self.sharing, -1).permute(2, 0, 3, 1, 4).unbind()


class AttentionView(Protocol):
    """Which tokens attend to which: given to a layer's attention together with its projections."""

    def attend(self, layer: int, projected: Tensor) -> Tensor:
        """Return the attention output of each token, [tokens, attention], from queries (and keys and values) side by
        side."""


class Attention:
    """The projections of one layer: queries, keys and values in one product, and the output."""

    def __init__(self, builder: LayerBuilder, prefix: str, layer: int, stack: Stack) -> None:
        self._layer = layer
        into = [f"{prefix}.{part}" for part in ("query", "key", "value")]
        rows = row_order(stack, layer)
        self._into = builder.linear(*into, rows=rows)
        self._norm = projection_norm(builder, prefix, stack, "query", "key", rows=rows)
        self._out = builder.linear(f"{prefix}.output")
        scale = key_value_scale(builder, prefix, stack, with_query=True)
        self._scale = scale if scale is None or rows is None else scale[:, rows]

    def __call__(self, x: Tensor, view: AttentionView, features: TokenFeatures) -> Tensor:
        """Return [tokens, hidden]; `features` are per token."""
        projected = self._into(x)
        if self._scale is not None and features.tasks is not None:
            projected = projected * self._scale[features.tasks]
        if self._norm is not None:
            self._norm.normalise(projected)
        return self._out(view.attend(self._layer, projected))


class CrossAttention:
    """The projections of a decoder layer that attends to an encoder; the encoder's side is computed once (`memory`)."""

    def __init__(self, builder: LayerBuilder, prefix: str, layer: int, stack: Stack) -> None:
        self._layer = layer
        self._query = builder.linear(f"{prefix}.query")
        self._memory = builder.linear(f"{prefix}.key", f"{prefix}.value")
        self._query_norm = projection_norm(builder, prefix, stack, "query")
        self._key_norm = projection_norm(builder, prefix, stack, "key")
        self._out = builder.linear(f"{prefix}.output")
        self._scale = key_value_scale(builder, prefix, stack, with_query=False)

    def memory(self, encoded: Tensor, features: TokenFeatures) -> Tensor:
        """Return keys and values side by side, [tokens, 2 key-value width], of an encoder's hidden states."""
        projected = self._memory(encoded)
        if self._scale is not None and features.tasks is not None:
            projected = projected * self._scale[features.tasks]
        if self._key_norm is not None:
            self._key_norm.normalise(projected)
        return projected

    def __call__(self, x: Tensor, view: AttentionView) -> Tensor:
        """Return [tokens, hidden]."""
        query = self._query(x)
        if self._query_norm is not None:
            self._query_norm.normalise(query)
        return self._out(view.attend(self._layer, query))


def attend(query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, *, scale: float) -> Tensor:
    """Return softmax(scale Q K^T + bias) V; all are [rows, heads, tokens, head size]."""
    return functional.scaled_dot_product_attention(query, keys, values, attn_mask=bias, scale=scale)


def attend_with_probabilities(
    query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, *, scale: float
) -> tuple[Tensor, Tensor]:
    """Return the result of `attend` and the probabilities [rows, heads, queries, keys]."""
    scores = torch.matmul(query, keys.transpose(2, 3)) * scale
    if bias is not None:
        scores = scores + bias
    probabilities = scores.softmax(-1)
    return torch.matmul(probabilities, values), probabilities


def key_value_scale(builder: LayerBuilder, prefix: str, stack: Stack, *, with_query: bool) -> Tensor | None:
    """Return IA3's scales of keys and values side by side (ones for queries); the last row, all ones, is "no task"."""
    if not stack.adapter_tasks:
        return None
    parts = [builder.tensor(f"{prefix}.{part}_scale") for part in ("key", "value")]
    if with_query:
        parts.insert(0, parts[0].new_ones(stack.adapter_tasks, stack.attention))
    return with_no_task(torch.cat(parts, dim=1))


def with_no_task(scales: Tensor) -> Tensor:
    """Return IA3 scales [tasks, n] with a last row of ones, which a row without a task uses."""
    return torch.cat([scales, scales.new_ones(1, scales.shape[1])])
