"""ALiBi: a penalty that grows with the distance, steeply in some heads and slowly in others (Press et al. 2022)."""

from __future__ import annotations

import torch
from torch import Tensor

from slipway.transformer.alibi_slopes import slopes
from slipway.transformer.module.distance_bias import DistanceBias


class AlibiBias(DistanceBias):
    """The penalties of every distance, in both directions."""

    def __init__(self, heads: int, scale: float, like: Tensor) -> None:
        """`scale` multiplies all penalties."""
        steep = torch.tensor(slopes(heads), device=like.device)[:, None] * -scale
        super().__init__(lambda distances: (steep * distances.abs()).to(like.dtype), like)
