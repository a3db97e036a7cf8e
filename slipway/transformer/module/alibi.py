"""ALiBi: a penalty that grows with the distance, steeply in some heads and slowly in others (Press et al. 2022)."""

from __future__ import annotations

import torch
from torch import Tensor

from slipway.transformer.module.distance_bias import DistanceBias


def slopes(heads: int) -> list[float]:
    """Return the penalty per token of each head: 2 ** (-8 i / heads) for a power of two; otherwise those of the power
    below, then every other one of the power above."""
    power = 1 << (heads.bit_length() - 1)
    own = [2.0 ** (-8.0 * (index + 1) / power) for index in range(power)]
    return own + [2.0 ** (-4.0 * (2 * index + 1) / power) for index in range(heads - power)]


class AlibiBias(DistanceBias):
    """The penalties of every distance, in both directions."""

    def __init__(self, heads: int, scale: float, like: Tensor) -> None:
        """`scale` multiplies all penalties."""
        steep = torch.tensor(slopes(heads), device=like.device)[:, None] * -scale
        super().__init__(lambda distances: (steep * distances.abs()).to(like.dtype), like)
