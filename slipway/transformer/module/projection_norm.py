"""Normalise the queries and keys of a projection, in place, before they are rotated."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor
from torch.nn import functional

from slipway.transformer.module.layer_builder import LayerBuilder
from slipway.transformer.spec import QueryKeyNorm, Stack


class ProjectionNorm:
    """Root mean squares over heads, or over all queries and over all keys."""

    def __init__(self, scales: Sequence[Tensor], epsilon: float) -> None:
        """Take the scales of neighbouring parts of a projection, [groups, numbers normalised together] each."""
        self._epsilon = epsilon
        self._scales = list(scales)
        self._exact = scales[0].dtype is torch.float32  # in half precision the length may overflow
        if self._exact:
            self._scales = [scale * sqrt(scale.shape[1]) for scale in scales]
        self._floors = [scale.new_tensor([epsilon * scale.shape[1]]) for scale in scales]

    def normalise(self, projected: Tensor) -> None:
        """Normalise the first numbers of each token of [tokens, ...], as many as there are scales."""
        start = 0
        for scale, floor in zip(self._scales, self._floors, strict=True):
            part = projected[:, start : start + scale.numel()].view(-1, *scale.shape)
            if self._exact:
                length = torch.linalg.vector_norm(part, dim=-1, keepdim=True)
                part.mul_(torch.addcmul(floor, length, length).rsqrt_()).mul_(scale)
            else:
                part.copy_(functional.rms_norm(part, scale.shape[1:], None, self._epsilon).mul_(scale))
            start += scale.numel()


def projection_norm(
    builder: LayerBuilder, prefix: str, stack: Stack, *parts: str, rows: Tensor | None = None
) -> ProjectionNorm | None:
    """Return the norm of a projection that begins with `parts` ("query", "key"), whose rows are in the order `rows`;
    None if the stack has none."""
    if stack.query_key_norm is QueryKeyNorm.NONE:
        return None
    by_head = stack.query_key_norm is QueryKeyNorm.HEAD
    scales = []
    for part in parts:
        width = stack.attention if part == "query" else stack.key_value
        scale = builder.tensor(f"{prefix}.{part}_norm.scale")
        scales.append(scale.repeat(width // stack.head_size) if by_head else scale)
    joint = torch.cat(scales)
    if rows is not None:
        joint = joint[rows[: len(joint)].to(joint.device)]
    if by_head:
        return ProjectionNorm([joint.view(-1, stack.head_size)], stack.norm_epsilon)
    parts_of_joint = torch.split(joint, [len(scale) for scale in scales])
    return ProjectionNorm([part[None] for part in parts_of_joint], stack.norm_epsilon)
