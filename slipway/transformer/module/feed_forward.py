"""The feed-forward block of a layer: a wide projection, a non-linearity, and a projection back.

Either one block for all tokens, or a mixture of experts: each token goes through the few experts that the gate selects.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from slipway.errors import invalid
from slipway.transformer.module.attention import with_no_task
from slipway.transformer.module.inputs import TokenFeatures
from slipway.transformer.module.layer_builder import LayerBuilder
from slipway.transformer.module.linear import Linear, activate
from slipway.transformer.spec import Experts, Gate, Stack


class FeedForwardBlock(Protocol):
    """The part of a layer that processes each token by itself."""

    def __call__(self, x: Tensor, features: TokenFeatures) -> Tensor:
        """Return [tokens, hidden]; `features` are per token."""


class FeedForward:
    """One block for all tokens."""

    def __init__(self, builder: LayerBuilder, prefix: str, stack: Stack) -> None:
        self._stack = stack
        self._wide = builder.linear(*_wide_names(prefix, stack))
        self._down = builder.linear(f"{prefix}.down")
        self._scale = with_no_task(builder.tensor(f"{prefix}.scale")) if stack.adapter_tasks else None

    def __call__(self, x: Tensor, features: TokenFeatures) -> Tensor:
        """Return [tokens, hidden]; `features` are per token."""
        return _feed(x, self._wide, self._down, self._stack, _selected(self._scale, features.tasks))


class SharedExpert:
    """A block for all tokens beside the experts, weighted by a gate of its own if there is one."""

    def __init__(self, builder: LayerBuilder, prefix: str, stack: Stack, *, gated: bool) -> None:
        self._stack = stack
        self._wide = builder.linear(*_wide_names(prefix, stack))
        self._down = builder.linear(f"{prefix}.down")
        self._gate = builder.tensor(f"{prefix}.gate.weight").t().contiguous() if gated else None

    def __call__(self, x: Tensor) -> Tensor:
        """Return [tokens, hidden]."""
        y = _feed(x, self._wide, self._down, self._stack, None)
        return y if self._gate is None else y.mul_(torch.matmul(x, self._gate).sigmoid_())


class MixtureOfExperts:
    """The experts of one layer, their gate, and the shared expert if there is one."""

    def __init__(self, builder: LayerBuilder, prefix: str, stack: Stack, experts: Experts) -> None:
        self._stack = stack
        self._experts = experts
        soft = experts.gate is Gate.SOFT
        self._router = builder.tensor(f"{prefix}.router.weight").t().contiguous() if soft else None
        self._wide = _each(builder, _wide_names(prefix, stack), experts.count)
        self._down = _each(builder, [f"{prefix}.down"], experts.count)
        self._scale = with_no_task(builder.tensor(f"{prefix}.scale")) if stack.adapter_tasks else None
        self._shared = (
            SharedExpert(builder, f"{prefix}.shared", stack, gated=experts.shared_gate)
            if experts.shared_inner
            else None
        )

    def __call__(self, x: Tensor, features: TokenFeatures) -> Tensor:
        """Return the weighted sum of each token's experts, [tokens, hidden]."""
        weights, chosen = self._choose(x, features)
        result = torch.zeros_like(x) if self._shared is None else self._shared(x)
        for expert in torch.bincount(chosen.flatten()).nonzero().flatten().tolist():
            tokens, rank = torch.nonzero(chosen == expert, as_tuple=True)
            own = None if features.tasks is None else features.tasks[tokens]
            wide, down = self._wide[expert], self._down[expert]
            computed = _feed(x[tokens], wide, down, self._stack, _selected(self._scale, own))
            result.index_add_(0, tokens, computed * weights[tokens, rank, None])
        return result

    def _choose(self, x: Tensor, features: TokenFeatures) -> tuple[Tensor, Tensor]:
        """Return the weight and the index of each token's experts, [tokens, k] each."""
        if self._router is not None:
            probabilities = torch.matmul(x, self._router).float().softmax(-1)
            weights, chosen = probabilities.topk(self._experts.top_k, dim=-1)
            if self._experts.normalised:
                weights = weights / weights.sum(-1, keepdim=True)
            return weights.to(x.dtype), chosen
        if features.experts is None:
            raise invalid("the language selects the experts: the row must name a language")
        return x.new_ones(x.shape[0], 1), features.experts[:, None]


def feed_forward(builder: LayerBuilder, prefix: str, layer: int, stack: Stack) -> FeedForwardBlock:
    """Return the feed-forward block of a layer."""
    if stack.experts is not None and stack.has_experts(layer):
        return MixtureOfExperts(builder, prefix, stack, stack.experts)
    return FeedForward(builder, prefix, stack)


def _feed(x: Tensor, wide: Linear, down: Linear, stack: Stack, scale: Tensor | None) -> Tensor:
    """Return down(activation(up x)), or down(activation(up x) * gated x) with both wide products in one; `scale` is
    IA3's scale for each token's inner activation."""
    if stack.gated:
        up, gated = wide(x).chunk(2, dim=-1)
        inner = activate(stack.activation, up).mul_(gated)
    else:
        inner = wide(x, stack.activation)
    return down(inner if scale is None else inner * scale)


def _selected(scale: Tensor | None, tasks: Tensor | None) -> Tensor | None:
    return None if scale is None or tasks is None else scale[tasks]


def _wide_names(prefix: str, stack: Stack) -> list[str]:
    return [f"{prefix}.up", *([f"{prefix}.gated"] if stack.gated else [])]


def _each(builder: LayerBuilder, prefixes: list[str], count: int) -> list[Linear]:
    """Return one linear layer per expert, from arrays that contain all experts."""
    weights = [builder.tensor(f"{prefix}.weight") for prefix in prefixes]
    biases = [builder.tensor(f"{prefix}.bias") for prefix in prefixes] if f"{prefixes[0]}.bias" in builder else []
    return [
        builder.form(
            torch.cat([weight[expert] for weight in weights]),
            torch.cat([bias[expert] for bias in biases]) if biases else None,
        )
        for expert in range(count)
    ]
