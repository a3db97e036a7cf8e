"""Decoding whose every step is the same work on the same memory, so that a GPU can record one and repeat it.

The cache has its full length from the start and what is not there yet is masked; rows that are finished are computed
on and ignored. Rows have one hypothesis each. Everything that changes from step to step lives in tensors on the device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from slipway.transformer.module.attention import attend
from slipway.transformer.module.decoder_state import DecoderState
from slipway.transformer.module.packed_layout import masked_score
from slipway.transformer.spec import Positions


class StaticDecoderState:
    """Takes over from a `DecoderState` that has taken its rows' first tokens; `capacity` tokens fit in all."""

    def __init__(self, state: DecoderState, capacity: int) -> None:
        self._decoder = state.decoder
        self._crossing = state.crossing
        self._features = state.features
        length, rows = state.cache.length, state.cache.hypotheses
        like = state.cache.view(0)
        self.tokens = torch.zeros(rows, dtype=torch.int64, device=like.device)
        self._position = torch.full((1,), length, dtype=torch.int64, device=like.device)
        self._places = state.positions.clone()  # of the next token in its row
        stack = self._decoder.stack
        self._last_place = stack.position_rows - 1 if stack.positions is Positions.TABLE else None
        self._relative = None if self._decoder.relative is None else self._decoder.relative.kept(capacity)
        self._columns = torch.arange(capacity, device=like.device)
        self._mask = like.new_zeros(capacity, rows)
        if state.mask is not None:
            self._mask[:length] = state.mask
        self._buffers = [like.new_zeros(capacity, rows, like.shape[2]) for _ in self._decoder.layers]
        for layer, buffer in enumerate(self._buffers):
            buffer[:length] = state.cache.view(layer)

    def step(self) -> Tensor:
        """Take one token per row from `tokens` and return its hidden state, [rows, hidden]."""
        places = self._places  # those of finished rows go on, past the end of the table
        if self._last_place is not None:
            places = places.clamp(max=self._last_place)
        x = self._decoder.embedding(self.tokens, places, self._features)
        hidden = self._decoder(x, _StaticDecodeStep(self, self._bias()), self._crossing, self._features)
        self._position.add_(1)
        self._places.add_(1)
        return hidden

    def rewind(self, steps: int) -> None:
        """Forget the last steps; what they left in the cache is masked, then overwritten."""
        self._position.sub_(steps)
        self._places.sub_(steps)

    def append(self, layer: int, added: Tensor) -> Tensor:
        """Take the newest token's keys and values, [rows, 2 attention]; return the buffer, [capacity, rows, ...]."""
        return self._buffers[layer].index_copy_(0, self._position, added[None])

    def attend(self, layer: int, projected: Tensor, bias: Tensor) -> Tensor:
        """Return what each row's newest token gathered, [rows, attention]."""
        stack, rows = self._decoder.stack, projected.shape[0]
        query = projected[:, : stack.attention].view(rows, stack.heads, 1, stack.head_size)
        seen = self.append(layer, projected[:, stack.attention :])
        parts = seen.view(-1, rows, 2, stack.heads, stack.head_size).permute(2, 1, 3, 0, 4)
        gathered = attend(query, parts[0], parts[1], bias, scale=stack.attention_scale)
        return gathered.reshape(rows, stack.attention)

    def _bias(self) -> Tensor:
        """Return what is added to the newest token's scores, [rows, heads or 1, 1, capacity]."""
        hidden = self._decoder.masked_tokens(self.tokens)
        if hidden is not None:
            newest = torch.zeros_like(self._mask[:1]).masked_fill_(hidden[None], masked_score(self._mask.dtype))
            self._mask.index_copy_(0, self._position, newest)
        later = self._mask.masked_fill((self._columns > self._position)[:, None], float("-inf"))
        bias = later.t()[:, None, None, :]
        if self._relative is None:
            return bias.contiguous()
        return bias + self._relative(self._columns - self._position)


class _StaticDecodeStep:
    """The newest tokens looking at a fixed cache."""

    def __init__(self, state: StaticDecoderState, bias: Tensor) -> None:
        self._state = state
        self._bias = bias

    def attend(self, layer: int, projected: Tensor) -> Tensor:
        return self._state.attend(layer, projected, self._bias)
