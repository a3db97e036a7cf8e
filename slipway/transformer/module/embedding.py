"""From ids, or pixels, to the vectors that enter the first layer."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from slipway.errors import internal
from slipway.transformer.module.inputs import EmbeddingOverrides, TokenFeatures
from slipway.transformer.module.layer_builder import LayerBuilder
from slipway.transformer.spec import Positions, Stack


class Embedding:
    """A stack's tables. `tokens` is another stack's token table, if that one is used."""

    def __init__(self, builder: LayerBuilder, prefix: str, stack: Stack, *, tokens: Tensor | None = None) -> None:
        self._stack = stack
        self._tokens = tokens
        if tokens is None and not (stack.vision or stack.embedded_input):
            self._tokens = builder.tensor(f"{prefix}.tokens")
        self._project = builder.linear(f"{prefix}.project") if stack.embedding_size else None
        table = stack.positions is Positions.TABLE
        self._positions = builder.tensor(f"{prefix}.positions") if table else None
        self._type = builder.tensor(f"{prefix}.types")[0].clone() if stack.token_types else None
        self._languages = builder.tensor(f"{prefix}.languages") if stack.languages else None
        self._norm = builder.norm(f"{prefix}.norm", stack) if stack.embedding_norm else None
        if stack.vision is not None:
            self._patch = builder.tensor(f"{prefix}.patch.weight"), builder.tensor(f"{prefix}.patch.bias")
            self._class = builder.tensor(f"{prefix}.class")

    def __call__(
        self, ids: Tensor, positions: Tensor, features: TokenFeatures, overrides: EmbeddingOverrides | None = None
    ) -> Tensor:
        """Return the vectors [tokens, hidden] of ids and positions int64 [tokens]."""
        if self._tokens is None:
            raise internal("this stack has no token table: its input is images, or was embedded elsewhere")
        stack = self._stack
        x = functional.embedding(ids, self._tokens)
        if stack.embedding_scale != 1.0:
            x = x * stack.embedding_scale
        if self._project is not None:
            x = self._project(x)
        if overrides is not None:
            x = x.index_copy(0, overrides.index, overrides.vectors)
        x = self._placed(x, positions)
        if features.languages is not None and self._languages is not None:
            x = x + self._languages[features.languages]
        if stack.padding_id is not None:
            x = x.masked_fill((ids == stack.padding_id)[:, None], 0.0)
        return x if self._norm is None else self._norm(x)

    def language_vectors(self, languages: Tensor) -> Tensor:
        """Return the vectors [n, hidden] of languages int64 [n]."""
        if self._languages is None:
            raise internal("this stack has no language table")
        return self._languages[languages]

    def images(self, pixels: Tensor) -> Tensor:
        """Return the vectors [rows * tokens, hidden] of pixels [rows, channels, height, width]: the class token, then
        the patches line by line."""
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
