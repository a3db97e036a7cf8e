"""One layer of a stack: its blocks, and the order in which they are computed."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from slipway.transformer.module.attention import Attention, AttentionView, CrossAttention
from slipway.transformer.module.feed_forward import feed_forward
from slipway.transformer.module.inputs import TokenFeatures
from slipway.transformer.module.layer_builder import LayerBuilder
from slipway.transformer.module.residual import ParallelResidual, residual
from slipway.transformer.spec import Stack


class StackLayer(Protocol):
    """A layer; `cross` is its attention to an encoder, None without one."""

    cross: CrossAttention | None

    def __call__(
        self, x: Tensor, view: AttentionView, cross_view: AttentionView | None, features: TokenFeatures
    ) -> Tensor:
        """Return [tokens, hidden]; `features` are per token."""


class Layer:
    """Self-attention, cross-attention if there is an encoder, and the feed-forward block."""

    def __init__(self, builder: LayerBuilder, prefix: str, layer: int, stack: Stack, *, cross: bool) -> None:
        self._around_self = residual(builder, f"{prefix}.self_attention", stack)
        self._self_attention = Attention(builder, f"{prefix}.self_attention", layer, stack)
        self.cross: CrossAttention | None = None
        if cross:
            self._around_cross = residual(builder, f"{prefix}.cross_attention", stack)
            self.cross = CrossAttention(builder, f"{prefix}.cross_attention", layer, stack)
        self._around_wide = residual(builder, f"{prefix}.feed_forward", stack)
        self._wide = feed_forward(builder, f"{prefix}.feed_forward", layer, stack)

    def __call__(
        self, x: Tensor, view: AttentionView, cross_view: AttentionView | None, features: TokenFeatures
    ) -> Tensor:
        """Return [tokens, hidden]; `features` are per token."""
        x = self._around_self(x, lambda y: self._self_attention(y, view, features))
        cross = self.cross
        if cross is not None and cross_view is not None:
            x = self._around_cross(x, lambda y: cross(y, cross_view))
        return self._around_wide(x, lambda y: self._wide(y, features))


class ParallelLayer:
    """Self-attention and the feed-forward block, which both see the layer's input."""

    def __init__(self, builder: LayerBuilder, prefix: str, layer: int, stack: Stack) -> None:
        self.cross: CrossAttention | None = None
        prefixes = f"{prefix}.self_attention", f"{prefix}.feed_forward"
        self._around = ParallelResidual(builder, prefixes, stack)
        self._self_attention = Attention(builder, prefixes[0], layer, stack)
        self._wide = feed_forward(builder, prefixes[1], layer, stack)

    def __call__(
        self,
        x: Tensor,
        view: AttentionView,
        cross_view: AttentionView | None,  # noqa: ARG002
        features: TokenFeatures,
    ) -> Tensor:
        """Return [tokens, hidden]; `features` are per token."""
        return self._around(x, lambda y: self._self_attention(y, view, features), lambda y: self._wide(y, features))


def stack_layer(builder: LayerBuilder, prefix: str, layer: int, stack: Stack, *, cross: bool) -> StackLayer:
    """Return a layer of the kind that the stack has."""
    if stack.parallel:
        return ParallelLayer(builder, prefix, layer, stack)
    return Layer(builder, prefix, layer, stack, cross=cross)
