"""What is added to the attention scores of each layer: masks, which layers share, and relative positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class LocalMask:
    """The mask of the layers with a window, in place of that of the others."""

    mask: Tensor
    layers: tuple[int, ...]


class ScoreBias:
    """The bias of every layer, [rows or 1, heads or 1, queries or 1, keys].

    `relative` has one function for all layers, or one per layer, which is called when the layer needs it: all at once
    would take a grid of memory per layer. With `causal`, a layer without a bias must hide the future by itself.
    """

    def __init__(
        self,
        mask: Tensor | None,
        relative: Sequence[Callable[[], Tensor]] = (),
        local: LocalMask | None = None,
        *,
        causal: bool = False,
    ) -> None:
        self.causal = causal
        self._mask = mask
        self._own = relative if len(relative) > 1 else ()
        shared = relative[0]() if len(relative) == 1 else None
        self._shared = _sum(shared, mask)
        self._local_layers = () if local is None else local.layers
        self._local = None if local is None else local.mask
        self._shared_local = _sum(shared, self._local)

    def of(self, layer: int) -> Tensor | None:
        """Return the bias of a layer, None if nothing is added."""
        local = layer in self._local_layers
        if self._own:
            return _sum(self._own[layer](), self._local if local else self._mask)
        return self._shared_local if local else self._shared


def _sum(bias: Tensor | None, mask: Tensor | None) -> Tensor | None:
    if bias is None or mask is None:
        return mask if bias is None else bias
    return bias + mask
