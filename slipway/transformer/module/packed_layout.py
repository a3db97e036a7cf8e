"""Rows of different lengths with their tokens one after another, and the grid that attention needs.

Everything but attention works on packed tokens, so nothing is computed for padding there. A decoder's prompts are
right-aligned in the grid, so that the next token of every row has the same column.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor


def masked_score(dtype: torch.dtype) -> float:
    """Return the bias for a key that no token may attend to.

    Not minus infinity, because softmax over a row without any key would be NaN; half of the lowest number, because the
    relative bias is added to it. The future is minus infinity, since a token may always attend to itself.
    """
    return torch.finfo(dtype).min / 2


class PackedLayout:
    """The places of the tokens of rows with these lengths. `even`: all lengths are equal, so the grid is a view."""

    def __init__(self, lengths: Sequence[int], device: torch.device, *, right: bool = False) -> None:
        self.lengths = list(lengths)
        self.rows = len(self.lengths)
        self.width = max(self.lengths)
        self.even = min(self.lengths) == self.width
        self._right = right
        self._device = device

    @cached_property
    def positions(self) -> Tensor:
        """The place of each token in its row, int64 [tokens]."""
        return self._tensor([place for length in self.lengths for place in range(length)])

    @cached_property
    def row_of_token(self) -> Tensor:
        """The row of each token, int64 [tokens]."""
        return torch.repeat_interleave(torch.arange(self.rows, device=self._device), self._tensor(self.lengths))

    @cached_property
    def row_lengths(self) -> Tensor:
        """The length of each token's row, int64 [tokens]."""
        return self._tensor(self.lengths)[self.row_of_token]

    @cached_property
    def last(self) -> Tensor:
        """The index of each row's last token, int64 [rows]."""
        return self._tensor(self.lengths).cumsum(0) - 1

    @cached_property
    def _cells(self) -> Tensor:
        """The cell of the flattened grid for each token."""
        shift = self.width - self._tensor(self.lengths) if self._right else self._tensor([0] * self.rows)
        return self.row_of_token * self.width + self.positions + shift[self.row_of_token]

    def spread(self, x: Tensor, fill: float = 0.0) -> Tensor:
        """Return tokens [tokens, ...] in the grid [rows, width, ...]."""
        if self.even:
            return x.view(self.rows, self.width, *x.shape[1:])
        grid = x.new_full((self.rows * self.width, *x.shape[1:]), fill)
        return grid.index_copy_(0, self._cells, x).view(self.rows, self.width, *x.shape[1:])

    def gather(self, grid: Tensor) -> Tensor:
        """Return the tokens of a grid [rows, width, ...] as [tokens, ...]."""
        flat = grid.reshape(self.rows * self.width, *grid.shape[2:])
        return flat if self.even else flat.index_select(0, self._cells)

    def key_mask(self, hidden_tokens: Tensor | None, dtype: torch.dtype) -> Tensor | None:
        """Return the bias to add to the scores of keys, [rows, width]: `masked_score` for empty cells and for tokens
        where `hidden_tokens` (bool [tokens]) is true; None if no key is masked."""
        if self.even and hidden_tokens is None:
            return None
        lowest = masked_score(dtype)
        count = sum(self.lengths)
        values = torch.zeros(count, dtype=dtype, device=self._device)
        if hidden_tokens is not None:
            values.masked_fill_(hidden_tokens, lowest)
        return self.spread(values, lowest)

    def _tensor(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self._device)
