"""Pairs of token sequences in memory: many in two arrays instead of one array each, and rows of them as padded batches.

A corpus that fits is read once; a larger one is read in pools, so that memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from slipway.train.batches import BatchingRule
from slipway.train.shards import Pair

PairSource = Callable[[], Iterator[Pair]]  # each call reads the corpus from its beginning

_POOL_TOKENS: Final = 1 << 24  # of both sides: 64 MB


@dataclass(frozen=True, slots=True)
class Side:
    """One side of many pairs: the tokens of all rows one after another."""

    tokens: np.ndarray  # int32
    starts: np.ndarray  # int64 [rows + 1]

    @property
    def lengths(self) -> np.ndarray:
        """The length of each row, int64 [rows]."""
        lengths: np.ndarray = self.starts[1:] - self.starts[:-1]
        return lengths

    def padded(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows with these indices, int64 [rows, longest of them], 0 after the end; for no rows, one row of
        padding, so that a process without rows can take part in a step."""
        if not len(rows):
            return np.zeros((1, 1), np.int64)
        begins, lengths = self.starts[rows], self.lengths[rows]
        columns = np.arange(int(lengths.max()))
        inside = columns < lengths[:, None]
        grid = np.zeros(inside.shape, np.int64)
        grid[inside] = self.tokens[(begins[:, None] + columns)[inside]]
        return grid


@dataclass(frozen=True, slots=True)
class Pool:
    """The pairs that are shuffled together."""

    inputs: Side
    targets: Side

    @property
    def lengths(self) -> np.ndarray:
        """The length of each pair's longer side."""
        longer: np.ndarray = np.maximum(self.inputs.lengths, self.targets.lengths)
        return longer


@dataclass(slots=True)
class Dropped:
    """How many pairs of one reading were used, and how many were too long or too short."""

    used: int = 0
    too_long: int = 0
    too_short: int = 0


def read_pools(
    source: PairSource, rule: BatchingRule, dropped: Dropped, *, all_lengths: bool = False, tokens: int = _POOL_TOKENS
) -> Iterator[Pool]:
    """Yield the pairs of `source` that training uses (`all_lengths`: all), `tokens` tokens at a time, and count."""
    pairs: list[Pair] = []
    count = 0
    for inputs, targets in source():
        pair = inputs[: rule.cut_inputs or None], targets[: rule.cut_targets or None]
        longest = max(len(pair[0]), len(pair[1]))
        if not all_lengths and longest > rule.longest:
            dropped.too_long += 1
        elif not all_lengths and longest < rule.shortest:
            dropped.too_short += 1
        else:
            dropped.used += 1
            pairs.append(pair)
            count += len(pair[0]) + len(pair[1])
        if count >= tokens:
            yield _pool(pairs)
            pairs, count = [], 0
    if pairs:
        yield _pool(pairs)


def _pool(pairs: list[Pair]) -> Pool:
    return Pool(*(_side([pair[side] for pair in pairs]) for side in (0, 1)))


def _side(rows: list[np.ndarray]) -> Side:
    starts = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=starts[1:])
    return Side(np.concatenate(rows, dtype=np.int32), starts)
