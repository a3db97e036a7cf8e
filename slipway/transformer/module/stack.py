"""An encoder or a decoder: its embedding, its layers, and what they add to attention scores."""

from __future__ import annotations

import torch
from torch import Tensor

from slipway.transformer.module.alibi import AlibiBias
from slipway.transformer.module.attention import AttentionView
from slipway.transformer.module.distance_bias import DistanceBias
from slipway.transformer.module.embedding import Embedding
from slipway.transformer.module.full_sequence import full_sequence_bias
from slipway.transformer.module.inputs import EmbeddedTokens, Images, PackedSequences, TokenFeatures
from slipway.transformer.module.layer import stack_layer
from slipway.transformer.module.layer_builder import LayerBuilder
from slipway.transformer.module.packed_layout import PackedLayout
from slipway.transformer.module.relative_bias import RelativeBias
from slipway.transformer.module.rotation import StackRotation, Turns
from slipway.transformer.module.score_bias import ScoreBias
from slipway.transformer.spec import Positions, Stack
from slipway.transformer.weights import relative_biases


class StackNetwork:
    """An encoder or a decoder: embedding, layers, last normalisation."""

    def __init__(
        self, builder: LayerBuilder, name: str, stack: Stack, *, tokens: Tensor | None = None, cross: bool = False
    ) -> None:
        self.stack = stack
        self.causal = name == "decoder"
        self.embedding = Embedding(builder, f"{name}.embedding", stack, tokens=tokens)
        self.relative: list[DistanceBias] = [  # one for all layers, one per layer, or none
            RelativeBias(builder.tensor(each), furthest=stack.relative_max_distance, both_ways=not self.causal)
            for each in relative_biases(name, stack)
        ]
        if stack.positions is Positions.ALIBI:
            like = torch.empty(0, dtype=builder.dtype, device=builder.device)
            self.relative.append(AlibiBias(stack.heads, stack.alibi_scale, like))
        self.rotation = StackRotation(stack, builder.device) if stack.rotary is not None else None
        self.layers = [
            stack_layer(builder, f"{name}.layers.{layer}", layer, stack, cross=cross) for layer in range(stack.layers)
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

    def full_sequence_bias(
        self, layout: PackedLayout, key_mask: Tensor | None, like: Tensor, *, visible: bool
    ) -> ScoreBias:
        """Return the bias to add to the scores when whole sequences attend to themselves; `visible` says whether the
        probabilities are requested."""
        return full_sequence_bias(
            self.stack, layout, self.relative, key_mask, causal=self.causal, visible=visible, like=like
        )
