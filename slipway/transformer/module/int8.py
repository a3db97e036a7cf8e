"""Linear layers in 8 bits: weights once, per output; what goes in at every call, per token.

Each token is scaled by its own largest number, so that a row's figures do not depend on what it is batched with. The
products are oneDNN's (unsigned times signed, summed in 32 bits).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from slipway.transformer.module.linear import activate
from slipway.transformer.spec import Activation

_LEVELS = 127.0
_ZERO = 128


class Int8Linear:
    """x [tokens, in] -> x W^T + b [tokens, out] in float32, within about 1 % of the float product."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        operators: Any = torch.ops.onednn
        peak = weight.abs().amax(1).clamp_min(1e-30)
        self._scale = peak / _LEVELS
        whole = (weight / self._scale[:, None]).round_().to(torch.int8)
        self._weight = operators.qlinear_prepack(whole, None)
        self._product = operators.qlinear_pointwise.default
        self._zeros = torch.zeros(weight.shape[0], dtype=torch.int32)
        self._bias = bias

    def __call__(self, x: Tensor, activation: Activation | None = None) -> Tensor:
        """Return the product, through `activation` where one is given."""
        peak = x.abs().amax(-1, keepdim=True).clamp_min_(1e-30)
        whole = (x * (_LEVELS / peak)).add_(_ZERO + 0.5).to(torch.uint8)  # cutting off a half more is rounding
        y: Tensor = self._product(
            whole, 1.0 / _LEVELS, _ZERO, self._weight, self._scale, self._zeros,
            None, 1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        y = y.mul_(peak) if self._bias is None else torch.addcmul(self._bias, y, peak)
        return y if activation is None else activate(activation, y)
