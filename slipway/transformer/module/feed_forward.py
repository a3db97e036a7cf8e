"""The feed-forward block: wider, through a non-linearity, back."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from slipway.transformer.module.attention import with_no_task
from slipway.transformer.module.inputs import TokenFeatures
from slipway.transformer.module.layer_builder import LayerBuilder
from slipway.transformer.module.linear import activate
from slipway.transformer.spec import Stack


class FeedForwardBlock(Protocol):
    """What a layer does to each token alone."""

    def __call__(self, x: Tensor, features: TokenFeatures) -> Tensor:
        """Return [tokens, hidden]."""


class FeedForward:
    """down(activation(up x)), or down(activation(up x) * gated x) with both wide products in one."""

    def __init__(self, builder: LayerBuilder, prefix: str, stack: Stack) -> None:
        self._activation = stack.activation
        self._gated = stack.gated
        self._wide = builder.linear(f"{prefix}.up", *([f"{prefix}.gated"] if stack.gated else []))
        self._down = builder.linear(f"{prefix}.down")
        self._scale = with_no_task(builder.tensor(f"{prefix}.scale")) if stack.adapter_tasks else None

    def __call__(self, x: Tensor, features: TokenFeatures) -> Tensor:
        """Return [tokens, hidden]; `features` are per token."""
        if self._gated:
            up, gated = self._wide(x).chunk(2, dim=-1)
            inner = activate(self._activation, up).mul_(gated)
        else:
            inner = self._wide(x, self._activation)
        if self._scale is not None and features.tasks is not None:
            inner = inner * self._scale[features.tasks]
        return self._down(inner)
