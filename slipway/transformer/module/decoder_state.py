"""The state that decoding keeps from one token to the next: the cache, positions, masks and features."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from slipway.transformer.module.cross_attention_cache import CrossAttentionCache
from slipway.transformer.module.inputs import EmbeddingOverrides, PackedSequences, TokenFeatures
from slipway.transformer.module.key_value_cache import DecodeStep, KeyValueCache
from slipway.transformer.module.packed_layout import PackedLayout, masked_score
from slipway.transformer.module.rotation import Turns
from slipway.transformer.module.score_bias import ScoreBias
from slipway.transformer.module.stack import StackNetwork


class DecoderState:
    """The hypotheses of some rows during decoding. One generation uses it; nothing in it is shared."""

    def __init__(self, decoder: StackNetwork, like: Tensor, *, rows: int, expected: int) -> None:
        self.decoder = decoder
        self._like = like
        self._row_features = TokenFeatures()  # per row
        self.features = TokenFeatures()  # per hypothesis
        self.mask: Tensor | None = None  # [columns, hypotheses], added to the scores of earlier tokens
        self.positions = torch.zeros(rows, dtype=torch.int64, device=like.device)  # of the next token
        self.cache = KeyValueCache(decoder.stack, like, expected=expected)
        self.cross_cache: CrossAttentionCache | None = None

    def take_encoded(self, encoded: Tensor, sequences: PackedSequences, key_mask: Tensor | None) -> None:
        """Keep what cross-attention needs from an encoder's packed hidden states of `sequences`."""
        layout = sequences.layout
        memories = self.decoder.memories(encoded, sequences.features.select(layout.row_of_token))
        self.cross_cache = CrossAttentionCache.of(self.decoder.stack, memories, layout, key_mask)

    def take_features(self, features: TokenFeatures) -> None:
        """Set the features of the decoder's tokens, per row."""
        self._row_features = self.features = features

    def take_prompts(self, layout: PackedLayout, features: TokenFeatures, masked_tokens: Tensor | None) -> None:
        """Continue after prompts that are now in the cache."""
        self.take_features(features)
        mask = layout.key_mask(masked_tokens, self._like.dtype)
        self.mask = None if mask is None else mask.t().contiguous()
        self.positions = torch.tensor(layout.lengths, dtype=torch.int64, device=self._like.device)

    def reorder(self, parents: Tensor, rows: Tensor) -> None:
        """Continue the hypotheses `parents`, int64 [n], which belong to `rows`, sorted int64 [n]."""
        self.cache.reorder(parents)
        self.positions = self.positions.index_select(0, parents)
        self.features = self._row_features.select(rows)
        if self.mask is not None:
            self.mask = self.mask.index_select(1, parents)
        if self.cross_cache is not None:
            self.cross_cache.follow(rows.tolist())

    def step(self, tokens: Tensor, overrides: EmbeddingOverrides | None = None) -> Tensor:
        """Feed one token per hypothesis and return its hidden state, [n, hidden]."""
        decoder = self.decoder
        x = decoder.embedding(tokens, self.positions, self.features, overrides)
        stack = decoder.stack
        window = stack.window if stack.window_layers and self.cache.length >= stack.window else 0
        view = DecodeStep(stack, self.cache, self._bias(tokens), self._turns(), window)
        hidden = decoder(x, view, self.cross_cache, self.features)
        self.cache.advance(tokens.shape[0])
        self.positions = self.positions + 1
        return hidden

    def _turns(self) -> Turns | None:
        """Return the rotary positions of the newest tokens."""
        rotation = self.decoder.rotation
        if rotation is None:
            return None
        return rotation.at(self.positions, self.positions + 1, longest=self.cache.length + 1)

    def _bias(self, tokens: Tensor) -> ScoreBias:
        """Return the bias to add to the scores of the newest token."""
        relative = [partial(each.last, self.cache.length + 1) for each in self.decoder.relative]
        if self.mask is None and self.decoder.stack.padding_id is None:
            return ScoreBias(None, relative)
        return ScoreBias(self._grow_mask(tokens).t()[:, None, None, :], relative)

    def _grow_mask(self, tokens: Tensor) -> Tensor:
        """Return the mask with a column for the newest tokens: no token, not even itself, attends to padding."""
        count = tokens.shape[0]
        before = self._like.new_zeros(self.cache.length, count) if self.mask is None else self.mask
        newest = self._like.new_zeros(1, count)
        hidden = self.decoder.masked_tokens(tokens)
        if hidden is not None:
            newest.masked_fill_(hidden[None], masked_score(newest.dtype))
        self.mask = torch.cat([before, newest])
        return self.mask
