"""Normalisation layers over the last axis."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


class LayerNorm:
    """Mean and variance, scale and bias."""

    def __init__(self, scale: Tensor, bias: Tensor, epsilon: float) -> None:
        self._shape = tuple(scale.shape)
        self._scale = scale
        self._bias = bias
        self._epsilon = epsilon

    def __call__(self, x: Tensor) -> Tensor:
        """Return x normalised."""
        return functional.layer_norm(x, self._shape, self._scale, self._bias, self._epsilon)


class RmsNorm:
    """Root mean square, scale only (Zhang and Sennrich 2019)."""

    def __init__(self, scale: Tensor, epsilon: float) -> None:
        self._shape = tuple(scale.shape)
        self._scale = scale
        self._epsilon = epsilon

    def __call__(self, x: Tensor) -> Tensor:
        """Return x normalised."""
        return functional.rms_norm(x, self._shape, self._scale, self._epsilon)
