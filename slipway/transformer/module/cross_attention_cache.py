"""A decoder's tokens attending to the encoder's. Keys and values are kept once per row, even if the row has several
hypotheses: these are side by side as queries of their row."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from slipway.transformer.module.attention import Heads
from slipway.transformer.module.attention_formula import formula_of
from slipway.transformer.module.packed_layout import PackedLayout
from slipway.transformer.spec import Stack


class CrossAttentionCache:
    """The encoder's keys and values for every decoder layer, and which hypothesis belongs to which row.

    `rows` int64 [n] must be sorted. Finished rows stay until a quarter of the rows is finished, because copying the
    rest costs more than computing a few unneeded queries.
    """

    def __init__(self, stack: Stack, parts: Sequence[Tensor], bias: Tensor | None) -> None:
        """Take each layer's keys and values, [2, rows, heads, tokens, head size], and the bias to add to the scores,
        [rows, 1, 1, tokens]."""
        self._heads = Heads.of(stack)
        self._formula = formula_of(stack)
        self._parts = list(parts)
        self._bias = bias
        self._held = list(range(self._parts[0].shape[1]))  # the rows whose keys and values are kept
        self._cells: Tensor | None = None  # each hypothesis' cell in the grid [held rows, beams]; None: one to one
        self._beams = 1

    @classmethod
    def of(
        cls, stack: Stack, memories: Sequence[Tensor], layout: PackedLayout, key_mask: Tensor | None
    ) -> CrossAttentionCache:
        """Make the cache from each layer's keys and values of packed tokens, [tokens, 2 key-value width]."""
        heads = Heads.of(stack)
        parts = [torch.stack(heads.split_keys_values(layout.spread(memory))) for memory in memories]
        return cls(stack, parts, None if key_mask is None else key_mask[:, None, None, :])

    def follow(self, rows: Sequence[int]) -> None:
        """Set the row of each hypothesis from now on."""
        alive = sorted(set(rows))
        if len(alive) <= len(self._held) * 3 // 4:
            self._release(alive)
        counts = dict.fromkeys(self._held, 0)
        places = []
        for row in rows:
            places.append((row, counts[row]))
            counts[row] += 1
        self._beams = max(counts.values())
        first = {row: place * self._beams for place, row in enumerate(self._held)}
        cells = [first[row] + place for row, place in places]
        whole = cells == list(range(len(self._held) * self._beams))
        self._cells = None if whole else torch.tensor(cells, dtype=torch.int64, device=self._parts[0].device)

    def _release(self, alive: list[int]) -> None:
        index = {row: place for place, row in enumerate(self._held)}
        kept = torch.tensor([index[row] for row in alive], dtype=torch.int64, device=self._parts[0].device)
        self._parts = [parts.index_select(1, kept) for parts in self._parts]
        if self._bias is not None:
            self._bias = self._bias.index_select(0, kept)
        self._held = alive

    def attend(self, layer: int, projected: Tensor) -> Tensor:
        """Return each hypothesis's attention over its row's encoder; `projected` are queries [n, attention]."""
        heads, rows = self._heads, len(self._held)
        grid = projected
        if self._cells is not None:
            grid = projected.new_zeros(rows * self._beams, heads.width).index_copy_(0, self._cells, projected)
        keys, values = self._parts[layer]
        gathered = heads.join(self._formula(heads.split_queries(grid, rows), keys, values, self._bias))
        return gathered if self._cells is None else gathered.index_select(0, self._cells)
