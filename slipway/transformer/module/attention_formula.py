"""The formula of attention as a stack computes it: plain, or with heads of keys and values that query heads share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor
from torch.nn import functional

from slipway.transformer.module.attention import attend
from slipway.transformer.spec import Stack

Formula = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""(queries, keys, values, bias) -> outputs of the heads; as `attention.attend`, but keys and values may have fewer
heads."""


def formula_of(stack: Stack) -> Formula:
    """Return the formula of a stack's attention."""
    plain = stack.key_value == stack.attention
    return partial(attend if plain else attend_shared, scale=stack.attention_scale)


def attend_shared(query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, *, scale: float) -> Tensor:
    """Return softmax(scale Q K^T + bias) V, where neighbouring query heads share a head of keys and values.

    A single query per row is seen as several queries of the shared head, so that keys and values are read once.
    """
    rows, heads, queries, size = query.shape
    if queries > 1:
        return functional.scaled_dot_product_attention(
            query, keys, values, attn_mask=bias, scale=scale, enable_gqa=True
        )
    gathered = functional.scaled_dot_product_attention(
        query.reshape(rows, keys.shape[1], -1, size), keys, values, attn_mask=grouped_bias(bias, keys), scale=scale
    )
    return gathered.reshape(rows, heads, 1, size)


def grouped_bias(bias: Tensor | None, keys: Tensor) -> Tensor | None:
    """Return the bias [rows, heads or 1, 1, keys] of one query per head, for the query heads that share one of `keys`
    as its queries."""
    if bias is None or bias.shape[1] == 1:
        return bias
    return bias.reshape(bias.shape[0], keys.shape[1], -1, bias.shape[-1])
