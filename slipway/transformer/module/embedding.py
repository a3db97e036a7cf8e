"""From ids, or pixels, to the vectors that enter the first layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from slipway.transformer.module.inputs import TokenFeatures
from slipway.transformer.module.layer_builder import LayerBuilder
from slipway.transformer.spec import Positions, Stack


@dataclass(frozen=True, slots=True)
class EmbeddingOverrides:
    """Tokens that have a vector instead of an id: prompt tables, languages that stand before the tokens."""

    index: Tensor  # int64 [n], which of the packed tokens
    vectors: Tensor  # [n, hidden]


class Embedding:
    """A stack's tables. `tokens` is given where another stack's token table is used."""

    def __init__(self, arrays: LayerBuilder, prefix: str, stack: Stack, *, tokens: Tensor | None = None) -> None:
        self._stack = stack
        self.tokens = tokens
        if tokens is None and not (stack.vision or stack.embedded_input):
            self.tokens = arrays.tensor(f"{prefix}.tokens")
        table = stack.positions is Positions.TABLE
        self._positions = arrays.tensor(f"{prefix}.positions") if table else None
        self._type = arrays.tensor(f"{prefix}.types")[0].clone() if stack.token_types else None
        self.languages = arrays.tensor(f"{prefix}.languages") if stack.languages else None
        self._norm = arrays.norm(f"{prefix}.norm", stack) if stack.embedding_norm else None
        if stack.vision is not None:
            self._patch = arrays.tensor(f"{prefix}.patch.weight"), arrays.tensor(f"{prefix}.patch.bias")
            self._class = arrays.tensor(f"{prefix}.class")

    def __call__(
        self, ids: Tensor, positions: Tensor, features: TokenFeatures, replaced: EmbeddingOverrides | None = None
    ) -> Tensor:
        """Return [tokens, hidden] of ids and positions int64 [tokens]."""
        assert self.tokens is not None  # noqa: S101  a stack for images is given pixels
        stack = self._stack
        x = functional.embedding(ids, self.tokens)
        if stack.embedding_scale != 1.0:
            x = x * stack.embedding_scale
        if replaced is not None:
            x = x.index_copy(0, replaced.index, replaced.vectors)
        x = self._placed(x, positions)
        if features.languages is not None and self.languages is not None:
            x = x + self.languages[features.languages]
        if stack.padding_id is not None:
            x = x.masked_fill((ids == stack.padding_id)[:, None], 0.0)
        return x if self._norm is None else self._norm(x)

    def images(self, pixels: Tensor) -> Tensor:
        """Return [rows * tokens, hidden] of pixels [rows, channels, height, width]: the class token, then the patches
        line by line."""
        weight, bias = self._patch
        patches = functional.conv2d(pixels.to(weight.dtype), weight, bias, stride=weight.shape[-1])
        rows, hidden = patches.shape[0], self._stack.hidden
        x = torch.cat([self._class.expand(rows, 1, hidden), patches.flatten(2).transpose(1, 2)], dim=1)
        positions = torch.arange(x.shape[1], device=x.device).repeat(rows)
        x = self._placed(x.reshape(-1, hidden), positions)
        return x if self._norm is None else self._norm(x)

    def _placed(self, x: Tensor, positions: Tensor) -> Tensor:
        if self._positions is not None:
            x = x + functional.embedding(positions, self._positions)
        return x if self._type is None else x + self._type
