"""The formula of attention as a stack computes it: plain, with heads of keys and values that query heads share, or
with a soft cap of the scores."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from slipway.transformer.module.attention import attend, attend_with_probabilities
from slipway.transformer.spec import Stack

Formula = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""(queries, keys, values, bias) -> outputs of the heads; as `attention.attend`, but keys and values may have fewer
heads."""

VisibleFormula = Callable[[Tensor, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]]
"""The same, with the probabilities [rows, heads, queries, keys]."""


def formula_of(stack: Stack) -> Formula:
    """Return the formula of a stack's attention."""
    if stack.attention_softcap:
        return partial(attend_capped, scale=stack.attention_scale, cap=stack.attention_softcap)
    plain = stack.key_value == stack.attention
    return partial(attend if plain else attend_shared, scale=stack.attention_scale)


def causal_formula_of(stack: Stack) -> Formula:
    """Return the formula that hides the future by itself, for whole sequences without a bias or a soft cap."""
    return partial(attend_causally, scale=stack.attention_scale)


def visible_formula_of(stack: Stack) -> VisibleFormula:
    """Return the formula of a stack's attention that also returns the probabilities."""
    if stack.attention_softcap or stack.key_value != stack.attention:
        return partial(attend_by_scores, scale=stack.attention_scale, cap=stack.attention_softcap)
    return partial(attend_with_probabilities, scale=stack.attention_scale)


def attend_shared(query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, *, scale: float) -> Tensor:
    """Return softmax(scale Q K^T + bias) V, where neighbouring query heads share a head of keys and values.

    Where all queries of a row have the same bias, they are seen as queries of the shared head, so that keys and values
    are read once. Measured on one core for one token of 14 heads that share 2 of 64 numbers, 1 024 keys, microseconds:
    97 against 228 with torch's own sharing, in bfloat16 116 against 1 530; for prompts torch's own is as fast.
    """
    rows, heads, queries, size = query.shape
    alike = bias is None or (bias.shape[2] == 1 and (bias.shape[1] == 1 or queries == 1))
    if not alike:
        return functional.scaled_dot_product_attention(
            query, keys, values, attn_mask=bias, scale=scale, enable_gqa=True
        )
    if bias is not None and bias.shape[1] > 1:
        bias = bias.reshape(bias.shape[0], keys.shape[1], -1, bias.shape[-1])
    grouped = query.reshape(rows, keys.shape[1], -1, size)
    gathered = functional.scaled_dot_product_attention(grouped, keys, values, attn_mask=bias, scale=scale)
    return gathered.reshape(rows, heads, queries, size)


def attend_causally(query: Tensor, keys: Tensor, values: Tensor, _: Tensor | None, *, scale: float) -> Tensor:
    """Return attention of each token to itself and those before it; query heads may share keys and values."""
    return functional.scaled_dot_product_attention(
        query, keys, values, is_causal=True, scale=scale, enable_gqa=query.shape[1] != keys.shape[1]
    )


def attend_capped(
    query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, *, scale: float, cap: float
) -> Tensor:
    """Return softmax(cap tanh(scale Q K^T / cap) + bias) V (Gemma 2); query heads may share keys and values."""
    return attend_by_scores(query, keys, values, bias, scale=scale, cap=cap)[0]


def attend_by_scores(
    query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, *, scale: float, cap: float
) -> tuple[Tensor, Tensor]:
    """Return attention and its probabilities, with a soft cap unless that is 0, for any number of shared heads; keys
    and values are not copied for the heads that share them."""
    rows, heads, queries, size = query.shape
    shared = keys.shape[1]
    grouped = query.reshape(rows, shared, -1, size)  # the queries of all heads that share one
    scores = torch.matmul(grouped, keys.transpose(2, 3))
    scores = scores.mul_(scale / cap).tanh_().mul_(cap) if cap else scores.mul_(scale)
    scores = scores.view(rows, heads, queries, -1)
    if bias is not None:
        scores = scores + bias
    probabilities = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    gathered = torch.matmul(probabilities.view(rows, shared, -1, scores.shape[-1]), values)
    return gathered.view(rows, heads, queries, size), probabilities
