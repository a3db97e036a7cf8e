"""Rotary positions: pairs of numbers of queries and keys are turned by the angle of their token's position.

A pair is a complex number, so that turning is one product, in place, for queries and keys together. For that, the pairs
must be neighbours: where a model pairs the halves of a head, the rows of its weights are reordered on loading
(`row_order`). Queries and keys get the same order, so their products stay the same. The angles of a step are
looked up once for all layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from slipway.transformer.rotary_frequencies import depends_on_length, inverse_frequencies
from slipway.transformer.spec import Rotary, RotaryScaling, Stack

_FIRST_REACH = 256  # positions that a table has at least

Lookup = Callable[[Tensor, Tensor], Tensor]
"""(positions, lengths of the rows so far), int64 [tokens] each -> cos + i sin, complex64 [tokens, 1, size / 2]."""


@dataclass(frozen=True, slots=True)
class Turns:
    """The rotations of the tokens of one step: for each layer complex64 [tokens, 1, size / 2], None if it has none."""

    layers: tuple[Tensor | None, ...]
    heads: int  # of queries and keys together
    head_size: int

    def turn(self, layer: int, projected: Tensor) -> None:
        """Turn the queries and keys of a projection [tokens, ...] that begins with them, in place."""
        angles = self.layers[layer]
        if angles is None:
            return
        pairs = projected.view(projected.shape[0], -1, self.head_size // 2, 2)[:, : self.heads, : angles.shape[-1]]
        if projected.dtype is torch.float32:
            torch.view_as_complex(pairs).mul_(angles)
        else:
            pairs.copy_(torch.view_as_real(torch.view_as_complex(pairs.float().contiguous()).mul_(angles)))


class StackRotation:
    """The rotary positions of a stack's layers, with tables that are made once and grow on demand."""

    def __init__(self, stack: Stack, device: torch.device) -> None:
        self._heads = stack.heads + stack.key_value // stack.head_size
        self._head_size = stack.head_size
        own = [stack.rotary_of(layer) for layer in range(stack.layers)]
        distinct = list(dict.fromkeys(rotary for rotary in own if rotary is not None))
        self._tables = [_table(rotary, device) for rotary in distinct]
        self._table_of_layer = [None if rotary is None else distinct.index(rotary) for rotary in own]

    def at(self, positions: Tensor, lengths: Tensor, *, longest: int) -> Turns:
        """Return the rotations of tokens at `positions` of rows with `lengths` tokens so far, int64 [tokens] each, none
        above `longest`."""
        return self._turns([table.upto(longest)(positions, lengths) for table in self._tables])

    def static(self, reach: int) -> Callable[[Tensor, Tensor], Turns]:
        """Return the rotations as a function of positions and lengths up to `reach`, for a caller that needs the tables
        at a fixed place in memory."""
        fixed = [table.upto(reach) for table in self._tables]
        return lambda positions, lengths: self._turns([look(positions, lengths) for look in fixed])

    def _turns(self, found: list[Tensor]) -> Turns:
        layers = tuple(None if index is None else found[index] for index in self._table_of_layer)
        return Turns(layers, self._heads, self._head_size)


class _PositionTable:
    """Angles that depend on the position alone: cos + i sin of every position."""

    def __init__(self, rotary: Rotary, device: torch.device) -> None:
        self._frequencies = torch.from_numpy(inverse_frequencies(rotary)).to(device)
        self._magnitude = rotary.magnitude
        self._table = torch.empty(0, device=device)

    def upto(self, reach: int) -> Lookup:
        """Return the angles of positions below `reach`."""
        table = self._table
        if len(table) < reach:
            reach = max(reach, _FIRST_REACH, 2 * len(table))
            positions = torch.arange(reach, device=table.device)
            self._table = table = _turned(positions, self._frequencies, self._magnitude)
        return lambda positions, _lengths: table[positions]


class _LengthTable:
    """Angles that also depend on the length of the sequence: inverse frequencies [lengths, size / 2] from the original
    length on, or only for up to and beyond it."""

    def __init__(self, rotary: Rotary, device: torch.device) -> None:
        self._rotary = rotary
        self._every = rotary.scaling is RotaryScaling.DYNAMIC
        self._table = torch.empty(0, device=device)

    def upto(self, reach: int) -> Lookup:
        """Return the angles in sequences of up to `reach` tokens."""
        rotary, table = self._rotary, self._table
        needed = max(reach - rotary.original_length + 1, 1) if self._every else 2
        if len(table) < needed:
            if self._every:
                needed = max(needed, 2 * len(table))
            lengths = range(rotary.original_length, rotary.original_length + needed)
            rows = np.stack([inverse_frequencies(rotary, length) for length in lengths])
            self._table = table = torch.from_numpy(rows).to(table.device)

        def look(positions: Tensor, lengths: Tensor) -> Tensor:
            own = (lengths - rotary.original_length).clamp(0, len(table) - 1)
            return _turned(positions, table[own], rotary.magnitude)

        return look


def _table(rotary: Rotary, device: torch.device) -> _PositionTable | _LengthTable:
    return (_LengthTable if depends_on_length(rotary) else _PositionTable)(rotary, device)


def _turned(positions: Tensor, frequencies: Tensor, magnitude: float) -> Tensor:
    """Return magnitude (cos + i sin) of the angles, complex64 [positions, 1, size / 2]; computed in float32."""
    angles = positions.float()[:, None] * frequencies
    return torch.complex(angles.cos() * magnitude, angles.sin() * magnitude)[:, None]


def head_order(rotary: Rotary | None, head_size: int) -> Tensor | None:
    """Return the order of a head's numbers in which the pairs of `rotary` are neighbours, int64 [head size]; None if
    they are."""
    if rotary is None or rotary.interleaved:
        return None
    turned = torch.arange(rotary.size).view(2, -1).t().flatten()
    return torch.cat([turned, torch.arange(rotary.size, head_size)])


def row_order(stack: Stack, layer: int) -> Tensor | None:
    """Return the order of the rows of a layer's joint projection (queries, keys, values) in which the pairs of its
    rotary positions are neighbours, int64 [rows]; None if they are."""
    order = head_order(stack.rotary_of(layer), stack.head_size)
    if order is None:
        return None
    width = stack.attention + stack.key_value
    starts = torch.arange(0, width, stack.head_size)
    turned = (starts[:, None] + order).flatten()
    return torch.cat([turned, torch.arange(width, width + stack.key_value)])
