"""The layers of an encoder or a decoder, and the order of computation in a layer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from slipway.transformer.module.attention import Attention, AttentionView, CrossAttention
from slipway.transformer.module.embedding import Embedding
from slipway.transformer.module.feed_forward import FeedForward, FeedForwardBlock, MixtureOfExperts
from slipway.transformer.module.full_sequence import full_sequence_bias
from slipway.transformer.module.inputs import EmbeddedTokens, Images, PackedSequences, TokenFeatures
from slipway.transformer.module.layer_builder import LayerBuilder
from slipway.transformer.module.packed_layout import PackedLayout
from slipway.transformer.module.relative_bias import RelativeBias
from slipway.transformer.module.rotation import StackRotation, Turns
from slipway.transformer.module.score_bias import ScoreBias
from slipway.transformer.spec import Stack
from slipway.transformer.weights import relative_biases

_HALF_LIMIT = 64_000.0  # the largest float16 is 65 504; T5's residuals reach it


class Layer:
    """Self-attention, cross-attention if there is an encoder, and the feed-forward block."""

    def __init__(self, builder: LayerBuilder, prefix: str, layer: int, stack: Stack, *, cross: bool) -> None:
        self._pre_norm = stack.pre_norm
        self._clamped = builder.dtype is torch.float16
        self._self_norm = builder.norm(f"{prefix}.self_attention.norm", stack)
        self._self_attention = Attention(builder, f"{prefix}.self_attention", layer, stack)
        self.cross: CrossAttention | None = None
        if cross:
            self._cross_norm = builder.norm(f"{prefix}.cross_attention.norm", stack)
            self.cross = CrossAttention(builder, f"{prefix}.cross_attention", layer, stack)
        self._wide_norm = builder.norm(f"{prefix}.feed_forward.norm", stack)
        self._wide: FeedForwardBlock = (
            MixtureOfExperts(builder, f"{prefix}.feed_forward", stack, stack.experts)
            if stack.experts is not None and stack.has_experts(layer)
            else FeedForward(builder, f"{prefix}.feed_forward", stack)
        )

    def __call__(
        self, x: Tensor, view: AttentionView, cross_view: AttentionView | None, features: TokenFeatures
    ) -> Tensor:
        """Return [tokens, hidden]; `features` are per token."""
        x = self._around(x, self._self_norm, lambda y: self._self_attention(y, view, features))
        cross = self.cross
        if cross is not None and cross_view is not None:
            x = self._around(x, self._cross_norm, lambda y: cross(y, cross_view))
        return self._around(x, self._wide_norm, lambda y: self._wide(y, features))

    def _around(self, x: Tensor, norm: Callable[[Tensor], Tensor], block: Callable[[Tensor], Tensor]) -> Tensor:
        """Return x + f(norm(x)), or norm(x + f(x)) in a post-norm layer."""
        y = block(norm(x)).add_(x) if self._pre_norm else norm(block(x).add_(x))
        return y.clamp_(-_HALF_LIMIT, _HALF_LIMIT) if self._clamped else y


class StackNetwork:
    """An encoder or a decoder: embedding, layers, last normalisation."""

    def __init__(
        self, builder: LayerBuilder, name: str, stack: Stack, *, tokens: Tensor | None = None, cross: bool = False
    ) -> None:
        self.stack = stack
        self.causal = name == "decoder"
        self.embedding = Embedding(builder, f"{name}.embedding", stack, tokens=tokens)
        self.relative = [  # one for all layers, one per layer, or none
            RelativeBias(builder.tensor(each), furthest=stack.relative_max_distance, both_ways=not self.causal)
            for each in relative_biases(name, stack)
        ]
        self.rotation = StackRotation(stack, builder.device) if stack.rotary is not None else None
        self.layers = [
            Layer(builder, f"{name}.layers.{layer}", layer, stack, cross=cross) for layer in range(stack.layers)
        ]
        self._final_norm = builder.norm(f"{name}.final_norm", stack) if stack.final_norm else None

    def __call__(
        self, x: Tensor, view: AttentionView, cross_view: AttentionView | None, features: TokenFeatures
    ) -> Tensor:
        """Return the last hidden states for embedded tokens, [tokens, hidden]."""
        for layer in self.layers:
            x = layer(x, view, cross_view, features)
        return x if self._final_norm is None else self._final_norm(x)

    def embed(self, sequences: PackedSequences, features: TokenFeatures) -> Tensor:
        """Return the input of the first layer, [tokens, hidden]; `features` are per token."""
        content = sequences.content
        if isinstance(content, Images):
            return self.embedding.images(content.pixels)
        if isinstance(content, EmbeddedTokens):
            return content.hidden
        return self.embedding(content.ids, sequences.layout.positions, features, content.overrides)

    def memories(self, encoded: Tensor, features: TokenFeatures) -> list[Tensor]:
        """Return each layer's keys and values for an encoder's hidden states, [tokens, 2 key-value width]; `features`
        are per token."""
        return [cross.memory(encoded, features) for layer in self.layers if (cross := layer.cross) is not None]

    def masked_tokens(self, ids: Tensor | None) -> Tensor | None:
        """Return which tokens are masked, bool [tokens], None if none are."""
        if self.stack.padding_id is None or ids is None:
            return None
        return ids == self.stack.padding_id

    def turns(self, layout: PackedLayout) -> Turns | None:
        """Return the rotary positions of whole sequences, None if the stack has none."""
        if self.rotation is None:
            return None
        return self.rotation.at(layout.positions, layout.row_lengths, longest=layout.width)

    def full_sequence_bias(self, layout: PackedLayout, key_mask: Tensor | None, like: Tensor) -> ScoreBias:
        """Return the bias to add to the scores when whole sequences attend to themselves."""
        return full_sequence_bias(layout, self.relative, key_mask, causal=self.causal, like=like)
