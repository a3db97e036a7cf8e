"""Draws that can be compared: `torch.multinomial` with the numbers that a row of a served model draws with.

Two libraries that draw differently cannot be compared by what they draw. Here transformers is given our numbers: all it
does to the scores before is its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode

from slipway.transformer.decoding.sampling import UniformDraws, drawn

NEAR: Final = 1e-4  # of the probability: what a draw so near the border between two tokens gives is chance


class FixedDraws(TorchFunctionMode):
    """While it is entered, every draw of one token takes the next number of `seed`; `reachable` has for each draw the
    tokens that a number as near as `NEAR` would have given."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.reachable: list[frozenset[int]] = []
        self._draws = UniformDraws(seed)

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Answer draws of one row here, and let everything else through."""
        given = kwargs or {}
        if func is not torch.multinomial:
            return func(*args, **given)
        [scores] = args[0].log()
        point = self._draws.next()
        token, _ = drawn(scores, point)
        near = (min(max(point + step, 0.0), 1.0 - 1e-12) for step in (-NEAR, NEAR))
        self.reachable.append(frozenset(drawn(scores, each)[0] for each in near) | {token})
        return torch.tensor([[token]])
