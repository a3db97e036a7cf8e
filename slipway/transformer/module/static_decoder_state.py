"""Decoding in which every step is the same work on the same memory, so that a GPU can record one step and repeat it.

The cache has its full length from the start, with later tokens masked; finished rows are still computed, but ignored.
Rows have one hypothesis each. Everything that changes from step to step is in tensors on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from slipway.transformer.module.decoder_state import DecoderState
from slipway.transformer.module.key_value_cache import DecodeStep, KeyValueCache
from slipway.transformer.module.packed_layout import masked_score
from slipway.transformer.module.score_bias import LocalMask, ScoreBias
from slipway.transformer.spec import Positions


class StaticKeyValueCache:
    """Keys and values of all layers in buffers [capacity, rows, width]; `position` int64 [1] is the column of the
    next token; its owner advances it."""

    def __init__(self, buffers: Sequence[Tensor], position: Tensor) -> None:
        self._buffers = buffers
        self._position = position

    @classmethod
    def of(cls, cache: KeyValueCache, capacity: int, position: Tensor) -> StaticKeyValueCache:
        """Return a cache with room for `capacity` tokens that begins with the contents of `cache`."""
        buffers = []
        for layer in range(cache.layers):
            held = cache.view(layer)
            buffer = held.new_zeros(capacity, *held.shape[1:])
            buffer[: cache.length] = held
            buffers.append(buffer)
        return cls(buffers, position)

    def append(self, layer: int, added: Tensor) -> Tensor:
        """Store the newest token's keys and values, [rows, width]; return the buffer, [capacity, rows, width]."""
        return self._buffers[layer].index_copy_(0, self._position, added[None])


class StaticDecoderState:
    """Takes over from a `DecoderState` after its rows' first tokens, with room for `capacity` tokens in total."""

    def __init__(self, state: DecoderState, capacity: int) -> None:
        self._decoder = state.decoder
        self._cross_cache = state.cross_cache
        self._features = state.features
        length, rows = state.cache.length, state.cache.hypotheses
        like = state.cache.view(0)
        self.tokens = torch.zeros(rows, dtype=torch.int64, device=like.device)
        self._position = torch.full((1,), length, dtype=torch.int64, device=like.device)
        self._places = state.positions.clone()  # of each row's next token
        stack = self._decoder.stack
        self._last_place = stack.position_rows - 1 if stack.positions is Positions.TABLE else None
        self._relative = [each.static(capacity) for each in self._decoder.relative]
        rotation = self._decoder.rotation
        self._turns = None if rotation is None else rotation.static(capacity)
        self._columns = torch.arange(capacity, device=like.device)
        self._mask = like.new_zeros(capacity, rows)
        if state.mask is not None:
            self._mask[:length] = state.mask
        self._cache = StaticKeyValueCache.of(state.cache, capacity, self._position)

    def step(self) -> Tensor:
        """Feed one token per row from `tokens` and return its hidden state, [rows, hidden]."""
        places = self._places  # those of finished rows continue past the end of the table
        if self._last_place is not None:
            places = places.clamp(max=self._last_place)
        x = self._decoder.embedding(self.tokens, places, self._features)
        turns = None if self._turns is None else self._turns(self._places, self._places + 1)
        view = DecodeStep(self._decoder.stack, self._cache, self._bias(), turns)
        hidden = self._decoder(x, view, self._cross_cache, self._features)
        self._position.add_(1)
        self._places.add_(1)
        return hidden

    def rewind(self, steps: int) -> None:
        """Undo the last steps; their entries in the cache are masked, then overwritten."""
        self._position.sub_(steps)
        self._places.sub_(steps)

    def _bias(self) -> ScoreBias:
        """Return the bias to add to the newest token's scores."""
        hidden = self._decoder.masked_tokens(self.tokens)
        if hidden is not None:
            newest = torch.zeros_like(self._mask[:1]).masked_fill_(hidden[None], masked_score(self._mask.dtype))
            self._mask.index_copy_(0, self._position, newest)
        later = self._mask.masked_fill((self._columns > self._position)[:, None], float("-inf"))
        mask = later.t()[:, None, None, :].contiguous()
        distances = self._columns - self._position
        return ScoreBias(mask, [partial(each, distances) for each in self._relative], self._local(later))

    def _local(self, mask: Tensor) -> LocalMask | None:
        """Return the mask of the layers with a window, made of that of the others, [capacity, rows]."""
        stack = self._decoder.stack
        if not stack.window_layers or len(self._columns) <= stack.window:
            return None
        near = mask.masked_fill((self._columns <= self._position - stack.window)[:, None], float("-inf"))
        return LocalMask(near.t()[:, None, None, :].contiguous(), stack.window_layers)
