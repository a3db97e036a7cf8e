"""Whole sequences attending to themselves: encoders, and a decoder's prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor

from slipway.transformer.module.attention import Heads
from slipway.transformer.module.attention_formula import causal_formula_of, formula_of, visible_formula_of
from slipway.transformer.module.distance_bias import DistanceBias
from slipway.transformer.module.key_value_cache import KeyValueCache
from slipway.transformer.module.packed_layout import PackedLayout
from slipway.transformer.module.rotation import Turns
from slipway.transformer.module.score_bias import LocalMask, ScoreBias
from slipway.transformer.spec import Stack


@dataclass(slots=True)
class FullSequence:
    """Tokens attending to the tokens of their own row. `bias` is added to the scores. If given, `turns` are the tokens'
    rotary positions, `cache` keeps keys and values, and `attentions` the probabilities (one [rows, heads, width, width]
    per layer)."""

    stack: Stack
    layout: PackedLayout
    bias: ScoreBias
    turns: Turns | None = None
    cache: KeyValueCache | None = None
    attentions: list[Tensor] | None = field(default=None)

    def attend(self, layer: int, projected: Tensor) -> Tensor:
        """Return each token's attention over its row."""
        heads, layout = Heads.of(self.stack), self.layout
        if self.turns is not None:
            self.turns.turn(layer, projected)
        grid = layout.spread(projected)
        if self.cache is not None:
            self.cache.fill(layer, heads.keys_values(grid))
        query, keys, values = heads.split(grid)
        bias = self.bias.of(layer)
        if self.attentions is None:
            causal = bias is None and self.bias.causal
            gathered = (causal_formula_of if causal else formula_of)(self.stack)(query, keys, values, bias)
        else:
            gathered, seen = visible_formula_of(self.stack)(query, keys, values, bias)
            self.attentions.append(seen)
        return layout.gather(heads.join(gathered).view(layout.rows, layout.width, -1))


def full_sequence_bias(
    stack: Stack,
    layout: PackedLayout,
    relative: Sequence[DistanceBias],
    key_mask: Tensor | None,
    *,
    causal: bool,
    visible: bool,
    like: Tensor,
) -> ScoreBias:
    """Return the bias to add to the scores of whole sequences: relative positions, masked keys, what is before the
    window of a layer and, for a decoder, the future. Where only the future is hidden, and the probabilities need not be
    `visible`, the formula hides it: without a grid of memory, and in half the time if the sequences are long."""
    causal = causal and layout.width > 1
    windows = bool(stack.window_layers) and layout.width > stack.window
    by_formula = causal and key_mask is None and stack.rotary is not None and not (stack.attention_softcap or visible)
    mask = None if key_mask is None else key_mask[:, None, None, :]
    if causal and (windows or not by_formula):
        future = like.new_full((layout.width, layout.width), float("-inf")).triu(1)[None, None]
        mask = future if mask is None else mask + future
    local = None
    if windows:
        far = like.new_full((layout.width, layout.width), float("-inf")).tril(-stack.window)[None, None]
        local = LocalMask(far if mask is None else mask + far, stack.window_layers)
    functions = [partial(each.full, layout.width) for each in relative]
    return ScoreBias(None if by_formula else mask, functions, local, causal=by_formula)
