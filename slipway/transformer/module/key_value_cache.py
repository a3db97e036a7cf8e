"""The keys and values of tokens already decoded, and the newest token attending to them.

Each layer's buffer is [tokens, hypotheses, width], with keys and values side by side, so that a step appends one block,
the tokens so far are a prefix, and following the parents of beams copies only that prefix. All layers share one spare
buffer: a reordered layer is written there, and its old buffer becomes the spare.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from slipway.transformer.module.attention import Heads
from slipway.transformer.module.attention_formula import formula_of
from slipway.transformer.module.rotation import Turns
from slipway.transformer.module.score_bias import ScoreBias
from slipway.transformer.spec import Stack


class KeyValueCache:
    """Keys and values of all layers of a decoder, for `length` tokens of `hypotheses` hypotheses."""

    def __init__(self, stack: Stack, like: Tensor, *, expected: int) -> None:
        """Make room for `expected` tokens of all hypotheses together; the cache grows when there are more."""
        self._width = 2 * stack.key_value
        self._buffers = [like.new_empty(expected * self._width) for _ in range(stack.layers)]
        self._spare = like.new_empty(0)
        self.length = 0
        self.hypotheses = 0

    @property
    def layers(self) -> int:
        """The number of layers."""
        return len(self._buffers)

    def fill(self, layer: int, grid: Tensor) -> None:
        """Store the prompt's keys and values of a layer, [hypotheses, tokens, width]."""
        count, tokens, width = grid.shape
        self._room(layer, count * tokens * width, kept=0)
        self._view(layer, tokens, count).copy_(grid.transpose(0, 1))
        if layer == self.layers - 1:
            self.hypotheses, self.length = count, tokens

    def append(self, layer: int, added: Tensor) -> Tensor:
        """Append the newest token's keys and values, [n, width] (n hypotheses); return all, [tokens, n, width]."""
        count, width = added.shape
        kept = self.length * count * width
        self._room(layer, kept + count * width, kept=kept)
        grown = self._view(layer, self.length + 1, count)
        grown[self.length].copy_(added)
        return grown

    def advance(self, hypotheses: int) -> None:
        """Count the newest token: all layers have appended it."""
        self.hypotheses, self.length = hypotheses, self.length + 1

    def reorder(self, parents: Tensor) -> None:
        """Continue the hypotheses `parents`, int64 [new hypotheses]."""
        count = parents.shape[0]
        for layer, buffer in enumerate(self._buffers):
            before = self.view(layer)
            size = self.length * count * self._width
            if self._spare.numel() < size:
                self._spare = buffer.new_empty(max(buffer.numel(), size + size // 2))
            torch.index_select(before, 1, parents, out=self._spare[:size].view(self.length, count, self._width))
            self._buffers[layer], self._spare = self._spare, buffer
        self.hypotheses = count

    def view(self, layer: int) -> Tensor:
        """Return a layer's keys and values, [tokens, hypotheses, width]."""
        return self._view(layer, self.length, self.hypotheses)

    def _view(self, layer: int, tokens: int, hypotheses: int) -> Tensor:
        return self._buffers[layer][: tokens * hypotheses * self._width].view(tokens, hypotheses, self._width)

    def _room(self, layer: int, size: int, *, kept: int) -> None:
        buffer = self._buffers[layer]
        if buffer.numel() < size:
            grown = buffer.new_empty(size + size // 2)
            grown[:kept].copy_(buffer[:kept])
            self._buffers[layer] = grown


class AppendingCache(Protocol):
    """The part of a cache that a decoding step uses."""

    def append(self, layer: int, added: Tensor) -> Tensor:
        """Append the newest token's keys and values, [n, width]; return all, [tokens, n, width]."""


class DecodeStep:
    """The newest token of each hypothesis attending to itself and earlier ones."""

    def __init__(
        self, stack: Stack, cache: AppendingCache, bias: ScoreBias, turns: Turns | None = None, window: int = 0
    ) -> None:
        """`bias` is added to the scores. `turns` are the tokens' rotary positions. With a `window`, the stack's layers
        with windows attend only to the last so many tokens of the cache."""
        self._heads = Heads.of(stack)
        self._formula = formula_of(stack)
        self._cache = cache
        self._bias = bias
        self._turns = turns
        self._window = window
        self._window_layers = stack.window_layers if window else ()

    def attend(self, layer: int, projected: Tensor) -> Tensor:
        """Return the attention of each hypothesis's newest token."""
        heads = self._heads
        if self._turns is not None:
            self._turns.turn(layer, projected)
        query, added = heads.split_step(projected)
        held, bias = self._cache.append(layer, added), self._bias.of(layer)
        if layer in self._window_layers:
            held, bias = held[-self._window :], None if bias is None else bias[..., -self._window :]
        keys, values = heads.split_keys_values(held.transpose(0, 1))
        return heads.join(self._formula(query, keys, values, bias))
