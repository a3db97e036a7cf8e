"""Positions as a bias per head for every distance between a query and a key, added to the attention scores."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_FIRST_REACH = 64


class DistanceBias:
    """The bias of every distance (key - query), computed once and extended for a longer sequence."""

    def __init__(self, of_distances: Callable[[Tensor], Tensor], like: Tensor) -> None:
        """Take a function from distances int64 [n] to their bias [heads, n]."""
        self._of_distances = of_distances
        self._reach = 0
        self._by_distance = like.new_empty(0)  # [heads, 2 reach - 1], distance 0 in the middle

    def full(self, width: int) -> Tensor:
        """Return the bias of every query and key of a sequence, [1, heads, width, width]."""
        by_distance, middle = self._upto(width)
        places = torch.arange(width, device=by_distance.device)
        return by_distance[:, places[None, :] - places[:, None] + middle][None]

    def last(self, length: int) -> Tensor:
        """Return the bias of the last query of a sequence with all keys, a view [1, heads, 1, length]."""
        by_distance, middle = self._upto(length)
        return by_distance[None, :, None, middle + 1 - length : middle + 1]

    def static(self, reach: int) -> StaticDistanceBias:
        """Return the bias of distances below `reach`, for a caller that needs it at a fixed place in memory."""
        return StaticDistanceBias(*self._upto(reach))

    def _upto(self, reach: int) -> tuple[Tensor, int]:
        """Return the bias by distance and the index of distance 0."""
        by_distance = self._by_distance
        if by_distance.numel() == 0 or by_distance.shape[1] < 2 * reach - 1:
            reach = max(reach, _FIRST_REACH, 2 * self._reach)
            distances = torch.arange(1 - reach, reach, device=by_distance.device)
            by_distance = self._of_distances(distances).contiguous()
            self._by_distance, self._reach = by_distance, reach
        return by_distance, by_distance.shape[1] // 2


class StaticDistanceBias:
    """The bias by distance, [heads, 2 reach - 1], with distance 0 at `middle`. A recorded step reads it at a fixed
    address, so it lives as long as the step, even if a longer sequence replaces the layer's own."""

    def __init__(self, by_distance: Tensor, middle: int) -> None:
        self._by_distance = by_distance
        self._middle = middle

    def __call__(self, distances: Tensor) -> Tensor:
        """Return the bias [1, heads, 1, n] for distances key - query, int64 [n]; positive ones are masked elsewhere."""
        return self._by_distance[:, (distances + self._middle).clamp(0, 2 * self._middle)][None, :, None]
