"""T5's relative positions: a bias per head for the bucket that a distance falls into."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def buckets(distances: Tensor, *, count: int, furthest: int, both_ways: bool) -> Tensor:
    """Return the bucket of each distance (key - query): one per short distance, then growing logarithmically up to
    `furthest` (Raffel et al. 2020, section 2.1); `both_ways` uses half of the buckets for keys after the query."""
    base = torch.zeros_like(distances)
    if both_ways:
        count //= 2
        base = (distances > 0).long() * count
        distances = distances.abs()
    else:
        distances = -distances.clamp(max=0)
    exact = count // 2
    ratio = torch.log(distances.float().clamp(min=1) / exact) / math.log(furthest / exact)
    far = (exact + (ratio * (count - exact)).long()).clamp(max=count - 1)
    return base + torch.where(distances < exact, distances, far)


class RelativeBias:
    """The bias of every distance, computed once and extended for a longer sequence; `table` is [buckets, heads]."""

    def __init__(self, table: Tensor, *, furthest: int, both_ways: bool) -> None:
        self._table = table
        self._furthest = furthest
        self._both_ways = both_ways
        self._reach = 0
        self._by_distance = table.new_empty(0)  # [heads, 2 reach - 1], distance 0 in the middle

    def full(self, width: int) -> Tensor:
        """Return the bias of every query and key of a sequence, [1, heads, width, width]."""
        by_distance, middle = self._upto(width)
        places = torch.arange(width, device=self._table.device)
        return by_distance[:, places[None, :] - places[:, None] + middle][None]

    def last(self, length: int) -> Tensor:
        """Return the bias of the last query of a sequence with all keys, a view [1, heads, 1, length]."""
        by_distance, middle = self._upto(length)
        return by_distance[None, :, None, middle + 1 - length : middle + 1]

    def static(self, reach: int) -> StaticRelativeBias:
        """Return the bias of distances below `reach`, for a caller that needs it at a fixed place in memory."""
        return StaticRelativeBias(*self._upto(reach))

    def _upto(self, reach: int) -> tuple[Tensor, int]:
        """Return the bias by distance and the index of distance 0."""
        by_distance = self._by_distance
        if by_distance.numel() == 0 or by_distance.shape[1] < 2 * reach - 1:
            reach = max(reach, 64, 2 * self._reach)
            distances = torch.arange(1 - reach, reach, device=self._table.device)
            bucket = buckets(distances, count=self._table.shape[0], furthest=self._furthest, both_ways=self._both_ways)
            by_distance = self._table[bucket].t().contiguous()
            self._by_distance, self._reach = by_distance, reach
        return by_distance, by_distance.shape[1] // 2


class StaticRelativeBias:
    """The bias by distance, [heads, 2 reach - 1], with distance 0 at `middle`. A recorded step reads it at a fixed
    address, so it lives as long as the step, even if a longer sequence replaces the layer's own."""

    def __init__(self, by_distance: Tensor, middle: int) -> None:
        self._by_distance = by_distance
        self._middle = middle

    def __call__(self, distances: Tensor) -> Tensor:
        """Return the bias [1, heads, 1, n] for distances key - query, int64 [n]; positive ones are masked elsewhere."""
        return self._by_distance[:, (distances + self._middle).clamp(0, 2 * self._middle)][None, :, None]
