"""The whole network: encode sequences, begin decoding, decode one token more."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from slipway.transformer.module.decoder_state import DecoderState
from slipway.transformer.module.embedding import EmbeddingOverrides
from slipway.transformer.module.full_sequence import FullSequence
from slipway.transformer.module.inputs import TokenFeatures
from slipway.transformer.module.layer_builder import LayerBuilder
from slipway.transformer.module.packed_layout import PackedLayout
from slipway.transformer.module.stack import StackNetwork
from slipway.transformer.spec import Transformer
from slipway.transformer.weights import token_table


@dataclass(frozen=True, slots=True)
class PackedSequences:
    """Rows that enter a stack: packed ids int64 [tokens], or `embedded` [tokens, hidden] from elsewhere, or `pixels`
    [rows, channels, height, width]. `features` are per row."""

    layout: PackedLayout
    ids: Tensor | None
    features: TokenFeatures = field(default_factory=TokenFeatures)
    replaced: EmbeddingOverrides | None = None
    embedded: Tensor | None = None
    pixels: Tensor | None = None


class Network:
    """A transformer's layers with their weights. Stateless between calls: what decoding keeps is a `DecoderState`."""

    def __init__(self, spec: Transformer, arrays: LayerBuilder) -> None:
        self.spec = spec
        self.arrays = arrays
        self.like = torch.empty(0, dtype=arrays.dtype, device=arrays.device)
        self._head_bias: Tensor | None = None
        tokens: Tensor | None = None
        if spec.decoder is not None:  # the largest arrays first, while there is most room
            tokens = arrays.tensor(token_table(spec))
            bias = arrays.tensor("head.bias") if spec.head_bias else None
            self._head = arrays.form(tokens if spec.tied_head else arrays.tensor("head.weight"), bias)
        shared = tokens if spec.shared_embedding else None
        self.prompts = [arrays.tensor(f"prompts.{task}") for task, _ in spec.prompts]
        self.encoder = StackNetwork(arrays, "encoder", spec.encoder, tokens=shared) if spec.encoder else None
        self.decoder = (
            StackNetwork(arrays, "decoder", spec.decoder, tokens=tokens, cross=spec.has_cross_attention)
            if spec.decoder
            else None
        )

    def encode(self, sequences: PackedSequences, attentions: list[Tensor] | None = None) -> Tensor:
        """Return the last hidden states [tokens, hidden] of the encoder (of the decoder, where there is no other) and
        add each layer's probabilities [rows, heads, width, width] to `attentions`."""
        stack = self.encoder or self.decoder
        assert stack is not None  # noqa: S101  a transformer has a stack
        return self._whole(stack, sequences, None, attentions)

    def begin(self, rows: int, *, expected: int, encoded: tuple[Tensor, PackedSequences] | None = None) -> DecoderState:
        """Return the state of `rows` rows before their first token; `expected` tokens get room in the cache."""
        assert self.decoder is not None  # noqa: S101  asked of networks with a decoder only
        state = DecoderState(self.decoder, self.like, rows=rows, expected=expected)
        if encoded is not None and self.encoder is not None:
            hidden, sequences = encoded
            mask = sequences.layout.key_mask(self.encoder.masked_tokens(sequences.ids), self.like.dtype)
            state.look_at(hidden, sequences.layout, mask, sequences.features)
        return state

    def prompt(self, state: DecoderState, sequences: PackedSequences) -> Tensor:
        """Take all tokens of the rows' prompts (right-aligned layout) and return their hidden states, [tokens, ...]."""
        assert self.decoder is not None  # noqa: S101
        hidden = self._whole(self.decoder, sequences, state, None)
        state.take_prompts(sequences.layout, sequences.features, self.decoder.masked_tokens(sequences.ids))
        return hidden

    def step(self, state: DecoderState, tokens: Tensor) -> Tensor:
        """Take one token per hypothesis, int64 [n], and return the scores of what follows, float32 [n, vocabulary]."""
        return self.scores(state.step(tokens))

    def scores(self, hidden: Tensor) -> Tensor:
        """Return the scores over the vocabulary, float32 [n, vocabulary], of a decoder's hidden states."""
        if self.spec.logit_scale != 1.0:
            hidden = hidden * self.spec.logit_scale
        return self._head(hidden).float()

    def _whole(
        self,
        stack: StackNetwork,
        sequences: PackedSequences,
        state: DecoderState | None,
        attentions: list[Tensor] | None,
    ) -> Tensor:
        layout = sequences.layout
        features = sequences.features.select(layout.row_of_token)
        if sequences.pixels is not None:
            x = stack.embedding.images(sequences.pixels)
        elif sequences.embedded is not None:
            x = sequences.embedded
        else:
            assert sequences.ids is not None  # noqa: S101  one of the three is given
            x = stack.embedding(sequences.ids, layout.positions, features, sequences.replaced)
        mask = layout.key_mask(stack.masked_tokens(sequences.ids), self.like.dtype)
        view = FullSequence(
            stack.stack,
            layout,
            stack.full_sequence_bias(layout, mask, self.like),
            cache=None if state is None else state.cache,
            attentions=attentions,
        )
        return stack(x, view, None if state is None else state.crossing, features)
