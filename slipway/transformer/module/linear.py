"""Matrix products, in the form that is fastest for each device and dtype.

On the CPU weights are kept in oneDNN's blocked form. Measured on two cores (Sapphire Rapids, float32, 768 -> 3072,
microseconds): 4 tokens 330 against 500 for the plain form, 8 tokens 500 against 740, 1024 tokens equal; one token is
the only case where the plain form wins, by a tenth. In 8 bits weights are rounded once, per output, and inputs at every
call, per token, so that a row's results do not depend on the rows it is batched with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from slipway.transformer.spec import Activation

_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    Activation.RELU: torch.relu,
    Activation.GELU: functional.gelu,
    Activation.GELU_TANH: lambda x: functional.gelu(x, approximate="tanh"),
    Activation.SILU: functional.silu,
}
# oneDNN's names: the operation on the product before it is written, and its algorithm
_FUSED = {
    None: ("none", ""),
    Activation.RELU: ("relu", ""),
    Activation.GELU: ("gelu", "none"),
    Activation.GELU_TANH: ("gelu", "tanh"),
    Activation.SILU: ("swish", ""),
}
_LEVELS = 127.0  # the largest int8
_ZERO = 128


class Linear(Protocol):
    """x [tokens, in] -> activation(x W^T + b) [tokens, out]."""

    def __call__(self, x: Tensor, activation: Activation | None = None) -> Tensor:
        """Return the product, through `activation` where one is given."""


def activate(activation: Activation, x: Tensor) -> Tensor:
    """Return the non-linearity of x."""
    return _ACTIVATIONS[activation](x)


class PlainLinear:
    """torch's own product, for CUDA and for CPUs without oneDNN."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight = weight.contiguous()
        self._bias = bias

    def __call__(self, x: Tensor, activation: Activation | None = None) -> Tensor:
        """Return the product, through `activation` where one is given."""
        y = functional.linear(x, self._weight, self._bias)
        return y if activation is None else activate(activation, y)


class PackedLinear:
    """A product with weights in oneDNN's blocked form; activations are applied while the result is in the cache."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        operators: Any = torch.ops.mkldnn
        self._weight = operators._reorder_linear_weight(weight.contiguous(), None)  # noqa: SLF001
        self._product = operators._linear_pointwise.default  # noqa: SLF001
        self._bias = bias

    def __call__(self, x: Tensor, activation: Activation | None = None) -> Tensor:
        """Return the product, through `activation` where one is given."""
        name, algorithm = _FUSED[activation]
        y: Tensor = self._product(x, self._weight, self._bias, name, [], algorithm)
        return y


class Int8Linear:
    """x [tokens, in] -> x W^T + b [tokens, out] in float32, within about 1 % of the float product. oneDNN multiplies
    unsigned by signed bytes and sums in 32 bits."""

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
        whole = (x * (_LEVELS / peak)).add_(_ZERO + 0.5).to(torch.uint8)  # adding a half, then truncating, rounds
        y: Tensor = self._product(
            whole, 1.0 / _LEVELS, _ZERO, self._weight, self._scale, self._zeros,
            None, 1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        y = y.mul_(peak) if self._bias is None else torch.addcmul(self._bias, y, peak)
        return y if activation is None else activate(activation, y)


def can_pack(dtype: torch.dtype) -> bool:
    """Return whether this CPU can multiply weights of `dtype` in oneDNN's form."""
    operators: Any = torch.ops.mkldnn
    available: Callable[[], bool] = torch.backends.mkldnn.is_available
    if not (available() and hasattr(operators, "_linear_pointwise")):
        return False
    if dtype is torch.bfloat16:
        return bool(operators._is_mkldnn_bf16_supported())  # noqa: SLF001
    return dtype is torch.float32 or bool(operators._is_mkldnn_fp16_supported())  # noqa: SLF001
