"""Turn canonical arrays into tensors in the engine's own form, with one array in memory at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from slipway.transformer.mapped_pages import release_pages
from slipway.transformer.module.linear import Int8Linear, Linear, PackedLinear, PlainLinear, can_pack
from slipway.transformer.module.norm import LayerNorm, RmsNorm, RmsNormByLength
from slipway.transformer.spec import Norm, Stack


class LayerBuilder:
    """Makes tensors of one dtype on one device from a checkpoint's arrays; `int8` stores linear layers in 8 bits."""

    def __init__(
        self, weights: Mapping[str, np.ndarray], *, device: torch.device, dtype: torch.dtype, int8: bool = False
    ) -> None:
        self._weights = weights
        self._int8 = int8
        self._packed = device.type == "cpu" and can_pack(dtype)
        self.device = device
        self.dtype = dtype

    def __contains__(self, name: str) -> bool:
        return name in self._weights

    def tensor(self, name: str) -> Tensor:
        """Return an array as a tensor that owns its memory."""
        return as_tensor(self._weights[name]).to(self.device, self.dtype)

    def linear(self, *prefixes: str, rows: Tensor | None = None) -> Linear:
        """Return the linear layers of `prefixes` as one, their outputs side by side, in the order `rows` if given."""
        weight = joined([self.tensor(f"{prefix}.weight") for prefix in prefixes])
        with_bias = f"{prefixes[0]}.bias" in self
        bias = joined([self.tensor(f"{prefix}.bias") for prefix in prefixes]) if with_bias else None
        if rows is not None:
            rows = rows.to(self.device)
            weight, bias = weight[rows], None if bias is None else bias[rows]
        return self.form(weight, bias)

    def form(self, weight: Tensor, bias: Tensor | None) -> Linear:
        """Return a linear layer in the form that this engine multiplies fastest."""
        if self._int8:
            return Int8Linear(weight, bias)
        return PackedLinear(weight, bias) if self._packed else PlainLinear(weight, bias)

    def norm(self, prefix: str, stack: Stack) -> LayerNorm | RmsNorm | RmsNormByLength:
        """Return the normalisation layer under `prefix`."""
        scale = self.tensor(f"{prefix}.scale")
        if stack.norm is Norm.RMS:
            by_length = self.device.type == "cpu" and self.dtype is torch.float32
            return (RmsNormByLength if by_length else RmsNorm)(scale, stack.norm_epsilon)
        return LayerNorm(scale, self.tensor(f"{prefix}.bias"), stack.norm_epsilon)


def as_tensor(array: np.ndarray) -> Tensor:
    """Return a tensor with a copy of an array; bfloat16 arrays are of ml_dtypes' type, which torch does not know."""
    copy = np.array(array, order="C")
    release_pages(array)
    if copy.dtype.name == "bfloat16":
        return torch.from_numpy(copy.view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(copy)


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Return tensors concatenated along the first axis."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
