"""T5's relative positions: a bias per head for the bucket that a distance falls into."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from slipway.transformer.module.distance_bias import DistanceBias


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


class RelativeBias(DistanceBias):
    """The bias of every distance; `table` is [buckets, heads]."""

    def __init__(self, table: Tensor, *, furthest: int, both_ways: bool) -> None:
        def of_distances(distances: Tensor) -> Tensor:
            return table[buckets(distances, count=table.shape[0], furthest=furthest, both_ways=both_ways)].t()

        super().__init__(of_distances, table)
