"""Whole sequences attending to themselves: encoders, and a decoder's prompt."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from slipway.transformer.module.attention import Heads, attend, attend_with_probabilities
from slipway.transformer.module.key_value_cache import KeyValueCache
from slipway.transformer.module.packed_layout import PackedLayout
from slipway.transformer.module.relative_bias import RelativeBias
from slipway.transformer.spec import Stack


@dataclass(slots=True)
class FullSequence:
    """Tokens attending to the tokens of their own row. `bias` is added to the scores, [rows or 1, heads or 1, queries
    or 1, keys]. If given, `cache` keeps keys and values, and `attentions` the probabilities (one [rows, heads, width,
    width] per layer)."""

    stack: Stack
    layout: PackedLayout
    bias: Tensor | None
    cache: KeyValueCache | None = None
    attentions: list[Tensor] | None = field(default=None)

    def attend(self, layer: int, projected: Tensor) -> Tensor:
        """Return each token's attention over its row."""
        heads, layout, scale = Heads.of(self.stack), self.layout, self.stack.attention_scale
        grid = layout.spread(projected)
        if self.cache is not None:
            self.cache.fill(layer, heads.keys_values(grid))
        query, keys, values = heads.split(grid)
        if self.attentions is None:
            gathered = attend(query, keys, values, self.bias, scale=scale)
        else:
            gathered, seen = attend_with_probabilities(query, keys, values, self.bias, scale=scale)
            self.attentions.append(seen)
        return layout.gather(heads.join(gathered).view(layout.rows, layout.width, -1))


def full_sequence_bias(
    layout: PackedLayout, relative: RelativeBias | None, key_mask: Tensor | None, *, causal: bool, like: Tensor
) -> Tensor | None:
    """Return the bias to add to the scores of whole sequences: relative positions, masked keys and, for a decoder, the
    future."""
    parts: list[Tensor] = []
    if relative is not None:
        parts.append(relative.full(layout.width))
    if key_mask is not None:
        parts.append(key_mask[:, None, None, :])
    if causal and layout.width > 1:
        future = like.new_full((layout.width, layout.width), float("-inf")).triu(1)
        parts.append(future[None, None])
    if not parts:
        return None
    bias = parts[0]
    for part in parts[1:]:
        bias = bias + part
    return bias
