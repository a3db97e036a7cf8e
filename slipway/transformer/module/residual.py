"""How the output of a block joins the stream of hidden states that runs through all layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from slipway.transformer.module.layer_builder import LayerBuilder
from slipway.transformer.spec import Stack

_HALF_LIMIT = 64_000.0  # the largest float16 is 65 504; T5's residuals reach it

Block = Callable[[Tensor], Tensor]


class Residual(Protocol):
    """The surroundings of one block: its norms, and the sum."""

    def __call__(self, x: Tensor, block: Block) -> Tensor:
        """Return the hidden states after the block, [tokens, hidden]."""


class PlainResidual:
    """x + s f(norm(x)), or norm(x + s f(x)) in a post-norm layer."""

    def __init__(self, builder: LayerBuilder, prefix: str, stack: Stack) -> None:
        self._pre_norm = stack.pre_norm
        self._scale = stack.residual_scale
        self._clamped = builder.dtype is torch.float16
        self._norm = builder.norm(f"{prefix}.norm", stack)

    def __call__(self, x: Tensor, block: Block) -> Tensor:
        """Return the hidden states after the block, [tokens, hidden]."""
        y = block(self._norm(x) if self._pre_norm else x)
        y = (y if self._scale == 1.0 else y.mul_(self._scale)).add_(x)
        y = y if self._pre_norm else self._norm(y)
        return y.clamp_(-_HALF_LIMIT, _HALF_LIMIT) if self._clamped else y


class BranchResidual:
    """x + s branch_norm(f(norm(x))), or x + s branch_norm(f(x)) in the stacks that are not pre-norm."""

    def __init__(self, builder: LayerBuilder, prefix: str, stack: Stack) -> None:
        self._norm = builder.norm(f"{prefix}.norm", stack) if stack.pre_norm else None
        self._branch_norm = builder.norm(f"{prefix}.branch_norm", stack)
        self._scale = stack.residual_scale
        self._clamped = builder.dtype is torch.float16

    def __call__(self, x: Tensor, block: Block) -> Tensor:
        """Return the hidden states after the block, [tokens, hidden]."""
        y = self._branch_norm(block(x if self._norm is None else self._norm(x)))
        y = (y if self._scale == 1.0 else y.mul_(self._scale)).add_(x)
        return y.clamp_(-_HALF_LIMIT, _HALF_LIMIT) if self._clamped else y


class ParallelResidual:
    """x + s (f(norm(x)) + g(norm(x))), with a norm for each block or one for both, and branch norms if there are."""

    def __init__(self, builder: LayerBuilder, prefixes: tuple[str, str], stack: Stack) -> None:
        first, second = prefixes
        self._norm = builder.norm(f"{first}.norm", stack)
        self._second_norm = None if stack.shared_norm else builder.norm(f"{second}.norm", stack)
        branch = [builder.norm(f"{prefix}.branch_norm", stack) for prefix in prefixes] if stack.branch_norm else None
        self._branch_norms = branch
        self._scale = stack.residual_scale
        self._clamped = builder.dtype is torch.float16

    def __call__(self, x: Tensor, first: Block, second: Block) -> Tensor:
        """Return the hidden states after both blocks, [tokens, hidden]."""
        normalised = self._norm(x)
        y = first(normalised)
        z = second(normalised if self._second_norm is None else self._second_norm(x))
        if self._branch_norms is not None:
            y, z = self._branch_norms[0](y), self._branch_norms[1](z)
        y.add_(z)
        y = (y if self._scale == 1.0 else y.mul_(self._scale)).add_(x)
        return y.clamp_(-_HALF_LIMIT, _HALF_LIMIT) if self._clamped else y


def residual(builder: LayerBuilder, prefix: str, stack: Stack) -> Residual:
    """Return the surroundings of the block under `prefix`."""
    return (BranchResidual if stack.branch_norm else PlainResidual)(builder, prefix, stack)
