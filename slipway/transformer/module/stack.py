"""The layers of an encoder or a decoder, and the order of what a layer does."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from slipway.transformer.module.attention import Attention, AttentionView, CrossAttention
from slipway.transformer.module.embedding import Embedding
from slipway.transformer.module.experts import MixtureOfExperts
from slipway.transformer.module.feed_forward import FeedForward, FeedForwardBlock
from slipway.transformer.module.full_sequence import full_sequence_bias
from slipway.transformer.module.inputs import TokenFeatures
from slipway.transformer.module.layer_builder import LayerBuilder
from slipway.transformer.module.packed_layout import PackedLayout
from slipway.transformer.module.relative_bias import RelativeBias
from slipway.transformer.spec import Positions, Stack

_HALF_LIMIT = 64_000.0  # float16 ends at 65 504; T5's residuals reach it


class Layer:
    """Self-attention, cross-attention where there is an encoder, and the feed-forward block."""

    def __init__(self, arrays: LayerBuilder, prefix: str, layer: int, stack: Stack, *, cross: bool) -> None:
        self._pre_norm = stack.pre_norm
        self._clamped = arrays.dtype is torch.float16
        self._self_norm = arrays.norm(f"{prefix}.self_attention.norm", stack)
        self._self_attention = Attention(arrays, f"{prefix}.self_attention", layer, stack)
        self._cross: CrossAttention | None = None
        if cross:
            self._cross_norm = arrays.norm(f"{prefix}.cross_attention.norm", stack)
            self._cross = CrossAttention(arrays, f"{prefix}.cross_attention", layer, stack)
        self._wide_norm = arrays.norm(f"{prefix}.feed_forward.norm", stack)
        self._wide: FeedForwardBlock = (
            MixtureOfExperts(arrays, f"{prefix}.feed_forward", stack, stack.experts)
            if stack.experts is not None and stack.has_experts(layer)
            else FeedForward(arrays, f"{prefix}.feed_forward", stack)
        )

    def __call__(
        self, x: Tensor, view: AttentionView, cross_view: AttentionView | None, features: TokenFeatures
    ) -> Tensor:
        """Return [tokens, hidden]; `features` are per token."""
        x = self._around(x, self._self_norm, lambda y: self._self_attention(y, view, features))
        cross = self._cross
        if cross is not None and cross_view is not None:
            x = self._around(x, self._cross_norm, lambda y: cross(y, cross_view))
        return self._around(x, self._wide_norm, lambda y: self._wide(y, features))

    def memory(self, encoded: Tensor, features: TokenFeatures) -> Tensor:
        """Return the keys and values of an encoder's hidden states for this layer's cross-attention."""
        assert self._cross is not None  # noqa: S101  asked of decoders with an encoder only
        return self._cross.memory(encoded, features)

    def _around(self, x: Tensor, norm: Callable[[Tensor], Tensor], block: Callable[[Tensor], Tensor]) -> Tensor:
        """Return x + f(norm(x)), or norm(x + f(x)) of a post-norm layer."""
        y = block(norm(x)).add_(x) if self._pre_norm else norm(block(x).add_(x))
        return y.clamp_(-_HALF_LIMIT, _HALF_LIMIT) if self._clamped else y


class StackNetwork:
    """An encoder or a decoder: embedding, layers, last normalisation."""

    def __init__(
        self, arrays: LayerBuilder, name: str, stack: Stack, *, tokens: Tensor | None = None, cross: bool = False
    ) -> None:
        self.stack = stack
        self.causal = name == "decoder"
        self.embedding = Embedding(arrays, f"{name}.embedding", stack, tokens=tokens)
        self.relative: RelativeBias | None = None
        if stack.positions is Positions.RELATIVE:
            self.relative = RelativeBias(
                arrays.tensor(f"{name}.relative_bias"),
                furthest=stack.relative_max_distance,
                both_ways=not self.causal,
            )
        self.layers = [
            Layer(arrays, f"{name}.layers.{layer}", layer, stack, cross=cross) for layer in range(stack.layers)
        ]
        self._final_norm = arrays.norm(f"{name}.final_norm", stack) if stack.final_norm else None

    def __call__(
        self, x: Tensor, view: AttentionView, cross_view: AttentionView | None, features: TokenFeatures
    ) -> Tensor:
        """Return the last hidden states of embedded tokens, [tokens, hidden]."""
        for layer in self.layers:
            x = layer(x, view, cross_view, features)
        return x if self._final_norm is None else self._final_norm(x)

    def masked_tokens(self, ids: Tensor | None) -> Tensor | None:
        """Return which tokens nobody may look at, bool [tokens], None when all may be."""
        if self.stack.padding_id is None or ids is None:
            return None
        return ids == self.stack.padding_id

    def full_sequence_bias(self, layout: PackedLayout, key_mask: Tensor | None, like: Tensor) -> Tensor | None:
        """Return what is added to the scores when whole sequences look at themselves."""
        return full_sequence_bias(layout, self.relative, key_mask, causal=self.causal, like=like)
