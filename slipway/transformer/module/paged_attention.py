"""Sequences whose keys and values are in pages: the new tokens of each attending to themselves and all before them.

Sequences of similar lengths with one new token each are computed as one grid; a piece of a prompt is a grid of its own.
The pages of a grid are gathered for each layer; what depends only on the step (places, masks) is made once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from slipway.transformer.module.attention import Heads, attend
from slipway.transformer.module.packed_layout import masked_score
from slipway.transformer.module.score_bias import ScoreBias
from slipway.transformer.paged.step import PagedStep
from slipway.transformer.spec import Stack

_SPREAD = 4  # pages by which the lengths in a grid may differ, ...
_SHARE = 1.25  # ... or as a factor: beyond, another grid costs less than the keys that nobody needs


class KeyValuePages:
    """The pages of all layers: each layer's buffer is [pages, page size, 2 key-value width], keys and values side by
    side."""

    def __init__(self, stack: Stack, like: Tensor, *, count: int, page_size: int) -> None:
        """Reserve memory; the system provides it when a page is first written."""
        self.layers = [like.new_empty(count, page_size, 2 * stack.key_value) for _ in range(stack.layers)]
        self.count = count
        self.page_size = page_size

    def copy(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Copy pages, (from, to) each."""
        sources, targets = torch.tensor(pairs, device=self.layers[0].device).unbind(1)
        for layer in self.layers:
            layer.index_copy_(0, targets, layer.index_select(0, sources))


@dataclass(frozen=True, slots=True)
class _Grid:
    """Sequences with the same number of new tokens, and what their queries may see."""

    tokens: Tensor | None  # int64 [rows * queries]: their places among all tokens; None: all, in order
    pages: Tensor  # int64 [rows * pages of the longest]
    rows: int
    bias: ScoreBias


class PagedAttention:
    """The tokens of one step attending to the pages of their sequences. An `attention.AttentionView`."""

    def __init__(self, stack: Stack, pages: KeyValuePages, step: PagedStep) -> None:
        self._heads = Heads.of(stack)
        self._scale = stack.attention_scale
        self._pages = pages
        like = pages.layers[0]
        self.positions = _tensor(_positions(step), like)  # int64 [tokens]
        self._slots = _tensor(_slots(step, self.positions.cpu().numpy(), pages.page_size), like)
        self._grids = [_grid(step, rows, pages, like) for rows in grids(step, pages.page_size)]

    def attend(self, layer: int, projected: Tensor) -> Tensor:
        """Keep the keys and values of the new tokens, and return each token's attention, [tokens, attention]."""
        heads, buffer = self._heads, self._pages.layers[layer]
        buffer.view(-1, buffer.shape[-1]).index_copy_(0, self._slots, heads.keys_values(projected))
        if len(self._grids) == 1 and self._grids[0].tokens is None:
            return self._attended(self._grids[0], layer, projected)
        outputs = projected.new_empty(projected.shape[0], heads.width)
        for grid in self._grids:
            if grid.tokens is not None:
                own = self._attended(grid, layer, projected.index_select(0, grid.tokens))
                outputs.index_copy_(0, grid.tokens, own)
        return outputs

    def _attended(self, grid: _Grid, layer: int, projected: Tensor) -> Tensor:
        heads, buffer = self._heads, self._pages.layers[layer]
        query = heads.split_queries(projected[:, : heads.width], grid.rows)
        held = buffer.index_select(0, grid.pages).view(grid.rows, -1, buffer.shape[-1])
        keys, values = heads.split_keys_values(held)
        return heads.join(attend(query, keys, values, grid.bias.of(layer), scale=self._scale))


def grids(step: PagedStep, page_size: int) -> Iterator[list[int]]:
    """Yield the sequences to compute as one grid: those with one new token by length, and each of the others alone."""
    new = np.diff(step.begins)
    ends = step.past + new
    single = sorted(np.flatnonzero(new == 1).tolist(), key=ends.__getitem__)
    grid: list[int] = []
    for index in single:
        if grid and ends[index] > max(_SHARE * ends[grid[0]], ends[grid[0]] + _SPREAD * page_size):
            yield sorted(grid)
            grid = []
        grid.append(index)
    if grid:
        yield sorted(grid)
    yield from ([index] for index in np.flatnonzero(new != 1).tolist())


def _positions(step: PagedStep) -> np.ndarray:
    """Return the position of each token in its sequence, int64 [tokens]."""
    new = np.diff(step.begins)
    positions: np.ndarray = np.arange(len(step.tokens)) - np.repeat(step.begins[:-1] - step.past, new)
    return positions


def _slots(step: PagedStep, positions: np.ndarray, page_size: int) -> np.ndarray:
    """Return the place of each token among those of all pages, int64 [tokens]."""
    first = np.repeat(step.page_begins[:-1], np.diff(step.begins))
    slots: np.ndarray = step.pages[first + positions // page_size].astype(np.int64) * page_size + positions % page_size
    return slots


def _grid(step: PagedStep, rows: list[int], pages: KeyValuePages, like: Tensor) -> _Grid:
    own = [step.pages[step.page_begins[row] : step.page_begins[row + 1]] for row in rows]
    widest = max(map(len, own))
    table = np.zeros((len(rows), widest), np.int64)  # beyond a sequence's end page 0, which nobody sees
    for line, held in zip(table, own, strict=True):
        line[: len(held)] = held
    everything = len(rows) == len(step.past)
    tokens = np.concatenate([np.arange(step.begins[row], step.begins[row + 1]) for row in rows])
    new = int(step.begins[rows[0] + 1] - step.begins[rows[0]])
    queries = step.past[rows][:, None] + np.arange(new)  # positions [rows, queries]
    return _Grid(
        tokens=None if everything else _tensor(tokens, like),
        pages=_tensor(table.reshape(-1), like),
        rows=len(rows),
        bias=ScoreBias(_mask(_tensor(queries, like), widest * pages.page_size, like)),
    )


def _mask(queries: Tensor, keys: int, like: Tensor) -> Tensor | None:
    """Return what is added to the scores of queries at positions int64 [rows, queries], [rows, 1, queries, keys]: the
    lowest score where a key is later than its query; None if no key is."""
    if int(queries.min()) + 1 >= keys:
        return None
    later = torch.arange(keys, device=like.device) > queries[:, :, None]
    return like.new_zeros(later.shape).masked_fill_(later, masked_score(like.dtype))[:, None]


def _tensor(array: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.int64)).to(like.device)
