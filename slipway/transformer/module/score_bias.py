"""What is added to the attention scores of each layer: masks, which all layers share, and relative positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor


class ScoreBias:
    """The bias of every layer, [rows or 1, heads or 1, queries or 1, keys].

    `relative` has one function for all layers, or one per layer, which is called when the layer needs it: all at once
    would take a grid of memory per layer.
    """

    def __init__(self, mask: Tensor | None, relative: Sequence[Callable[[], Tensor]] = ()) -> None:
        self._mask = mask
        self._own = relative if len(relative) > 1 else ()
        self._shared = self._with_mask(relative[0]()) if len(relative) == 1 else mask

    def of(self, layer: int) -> Tensor | None:
        """Return the bias of a layer, None if nothing is added."""
        return self._with_mask(self._own[layer]()) if self._own else self._shared

    def _with_mask(self, bias: Tensor) -> Tensor:
        return bias if self._mask is None else bias + self._mask
