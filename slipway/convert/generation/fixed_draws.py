"""Sampling that can be compared: `torch.multinomial` with the random numbers of a row of a served model.

Two libraries with different random numbers cannot be compared by the tokens that they draw. Here transformers uses our
numbers; everything that happens to the scores before the draw is its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode

from slipway.transformer.decoding.sampling import UniformDraws, drawn

NEAR: Final = 1e-4  # of the probability: a draw this close to the border between two tokens may give either


class FixedDraws(TorchFunctionMode):
    """A context in which every draw of one token uses the next number of `seed`; `reachable` has the tokens of each
    draw that a number within `NEAR` of it would select."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.reachable: list[frozenset[int]] = []
        self._draws = UniformDraws(seed)

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Replace draws of one row, and pass every other call on."""
        given = kwargs or {}
        if func is not torch.multinomial:
            return func(*args, **given)
        [scores] = args[0].log()
        point = self._draws.next()
        token, _ = drawn(scores, point)
        near = (min(max(point + step, 0.0), 1.0 - 1e-12) for step in (-NEAR, NEAR))
        self.reachable.append(frozenset(drawn(scores, each)[0] for each in near) | {token})
        return torch.tensor([[token]])
