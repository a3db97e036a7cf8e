"""Sequences whose keys and values are in pages: the new tokens of each attending to themselves and all before them.

Sequences of similar lengths with one new token each are computed as one grid; a piece of a prompt is a grid of its own.
The pages of a grid are gathered for each layer; what depends only on the step (places, masks) is made once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from slipway.transformer.module.attention import Heads
from slipway.transformer.module.attention_formula import formula_of
from slipway.transformer.module.distance_bias import StaticDistanceBias
from slipway.transformer.module.packed_layout import masked_score
from slipway.transformer.module.score_bias import LocalMask, ScoreBias
from slipway.transformer.module.stack import StackNetwork
from slipway.transformer.paged.step import PagedStep
from slipway.transformer.spec import Stack

_SPREAD = 4  # pages by which the lengths in a grid may differ, ...
_SHARE = 1.5  # ... or as a factor: beyond, another grid costs less than the keys that nobody needs


class KeyValuePages:
    """The pages of all layers: each layer's buffer is [pages + 1, page size, 2 key-value width], keys and values side
    by side. The last page is always zero. Behind the tokens of a sequence, its last page is zero too: a NaN would spoil
    a sum even where its weight is zero."""

    def __init__(self, stack: Stack, like: Tensor, *, count: int, page_size: int) -> None:
        """Reserve memory; on the CPU, the system provides it when a page is first written."""
        shape = (count + 1, page_size, 2 * stack.key_value)
        self.layers = [_zeros(shape, like) for _ in range(stack.layers)]
        self.masked = None  # bool [pages + 1, page size]: tokens that no token attends to
        if stack.padding_id is not None:
            self.masked = torch.zeros(shape[:2], dtype=torch.bool, device=like.device)
        self.copied: set[int] = set()  # since the last step
        self.count = count
        self.page_size = page_size

    def copy(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Copy pages, (from, to) each; the step that continues them clears what is behind its tokens."""
        sources, targets = torch.tensor(pairs, device=self.layers[0].device).unbind(1)
        for layer in self.layers:
            layer.index_copy_(0, targets, layer.index_select(0, sources))
        if self.masked is not None:
            self.masked.index_copy_(0, targets, self.masked.index_select(0, sources))
        self.copied.update(target for _, target in pairs)


def _zeros(shape: tuple[int, ...], like: Tensor) -> Tensor:
    if like.device.type != "cpu":
        return like.new_zeros(shape)
    size = int(np.prod(shape)) * like.element_size()
    return torch.from_numpy(np.zeros(size, np.uint8)).view(like.dtype).view(shape)  # calloc touches no memory


@dataclass(frozen=True, slots=True)
class _Grid:
    """Sequences with the same number of new tokens, and what their queries may see."""

    tokens: Tensor | None  # int64 [rows * queries]: their places among all tokens; None: all, in order
    pages: Tensor  # int64 [rows * pages of the longest]
    rows: int
    bias: ScoreBias


class PagedAttention:
    """The tokens of one step attending to the pages of their sequences. An `attention.AttentionView`."""

    def __init__(self, decoder: StackNetwork, pages: KeyValuePages, step: PagedStep, ids: Tensor) -> None:
        """Take a step whose tokens are `ids`, int64 [tokens]."""
        stack, like = decoder.stack, pages.layers[0]
        self._heads = Heads.of(stack)
        self._formula = formula_of(stack)
        self._pages = pages
        places, new = _positions(step), np.diff(step.begins)
        self.positions = _tensor(places, like)  # int64 [tokens]
        self._turns = None
        if decoder.rotation is not None:
            lengths = np.maximum(np.repeat(step.lengths, new), places + 1)  # a draft goes beyond its sequence
            self._turns = decoder.rotation.at(self.positions, _tensor(lengths, like), longest=int(lengths.max()))
        self._slots = _tensor(_slots(step, places, pages.page_size), like)
        self._tails = _tensor(_tails(step, pages.page_size, pages.copied), like)
        pages.copied.clear()
        masked = decoder.masked_tokens(ids)
        if pages.masked is not None and masked is not None:
            pages.masked.view(-1).index_copy_(0, self._slots, masked)
        self._grids = [_grid(decoder, step, rows, pages) for rows in grids(step, pages.page_size)]

    def attend(self, layer: int, projected: Tensor) -> Tensor:
        """Keep the keys and values of the new tokens, and return each token's attention, [tokens, attention]."""
        heads, buffer = self._heads, self._pages.layers[layer]
        if self._turns is not None:
            self._turns.turn(layer, projected)
        places = buffer.view(-1, buffer.shape[-1])
        if len(self._tails):
            places.index_fill_(0, self._tails, 0.0)
        places.index_copy_(0, self._slots, heads.keys_values(projected))
        queries = projected[:, : heads.width]
        if len(self._grids) == 1 and self._grids[0].tokens is None:
            return self._attended(self._grids[0], layer, queries)
        outputs = projected.new_empty(projected.shape[0], heads.width)
        for grid in self._grids:
            if grid.tokens is not None:
                own = self._attended(grid, layer, queries.index_select(0, grid.tokens))
                outputs.index_copy_(0, grid.tokens, own)
        return outputs

    def _attended(self, grid: _Grid, layer: int, queries: Tensor) -> Tensor:
        heads, buffer = self._heads, self._pages.layers[layer]
        held = buffer.index_select(0, grid.pages).view(grid.rows, -1, buffer.shape[-1])
        keys, values = heads.split_keys_values(held)
        query = queries.reshape(grid.rows, -1, heads.count, heads.width // heads.count).transpose(1, 2)
        return heads.join(self._formula(query, keys, values, grid.bias.of(layer)))


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


def _tails(step: PagedStep, page_size: int, copied: Collection[int]) -> np.ndarray:
    """Return the places behind the new tokens in pages that the step begins, or that were copied, int64 [n]."""
    ends = step.past + np.diff(step.begins)
    first = (ends - 1) // page_size * page_size  # of each sequence's last page
    last = step.pages[step.page_begins[:-1] + first // page_size].astype(np.int64)
    opened = (first >= step.past) | np.isin(last, list(copied))
    spans = [
        np.arange(page * page_size + end, (page + 1) * page_size)
        for page, end in zip(last[opened], (ends - first)[opened], strict=True)
    ]
    return np.concatenate(spans) if spans else np.empty(0, np.int64)


def _grid(decoder: StackNetwork, step: PagedStep, rows: list[int], pages: KeyValuePages) -> _Grid:
    own = [step.pages[step.page_begins[row] : step.page_begins[row + 1]] for row in rows]
    widest = max(map(len, own))
    table = np.full((len(rows), widest), pages.count, np.int64)  # beyond a sequence's end, the page that is zero
    for line, held in zip(table, own, strict=True):
        line[: len(held)] = held
    everything = len(rows) == len(step.past)
    tokens = np.concatenate([np.arange(step.begins[row], step.begins[row + 1]) for row in rows])
    new = int(step.begins[rows[0] + 1] - step.begins[rows[0]])
    like = pages.layers[0]
    gathered = _tensor(table, like)
    queries = _tensor(step.past[rows][:, None] + np.arange(new), like)  # positions [rows, queries]
    return _Grid(
        tokens=None if everything else _tensor(tokens, like),
        pages=gathered.view(-1),
        rows=len(rows),
        bias=_bias(decoder, queries, gathered, pages),
    )


def _bias(decoder: StackNetwork, queries: Tensor, gathered: Tensor, pages: KeyValuePages) -> ScoreBias:
    """Return what is added to the scores of queries at positions int64 [rows, queries] for the tokens of pages int64
    [rows, pages]: the future, what is before a window and padding are hidden."""
    stack, like = decoder.stack, pages.layers[0]
    keys = gathered.shape[1] * pages.page_size
    distances = torch.arange(keys, device=like.device) - queries[:, :, None]  # [rows, queries, keys]
    mask = local = None
    if int(queries.min()) + 1 < keys:
        mask = _hidden(distances > 0, like)
    if pages.masked is not None:
        padding = pages.masked[gathered].view(len(gathered), 1, 1, -1)
        own = like.new_zeros(padding.shape).masked_fill_(padding, masked_score(like.dtype))
        mask = own if mask is None else mask + own
    if stack.window_layers and int(queries.max()) >= stack.window:
        far = _hidden(distances <= -stack.window, like)
        local = LocalMask(far if mask is None else mask + far, stack.window_layers)
    relative = [partial(_by_distance, each.static(keys), distances) for each in decoder.relative]
    return ScoreBias(mask, relative, local)


def _hidden(hidden: Tensor, like: Tensor) -> Tensor:
    """Return minus infinity where bool [rows, queries, keys] is true, [rows, 1, queries, keys]."""
    return like.new_zeros(hidden.shape).masked_fill_(hidden, float("-inf"))[:, None]


def _by_distance(bias: StaticDistanceBias, distances: Tensor) -> Tensor:
    """Return the bias [rows, heads, queries, keys] of distances int64 [rows, queries, keys]."""
    return bias(distances.reshape(-1)).view(-1, *distances.shape).transpose(0, 1)


def _tensor(array: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.int64)).to(like.device)
