"""How steeply the penalty of each head grows with ALiBi (Press et al. 2022). Pure numbers, for any engine."""

from __future__ import annotations


def slopes(heads: int) -> list[float]:
    """Return the penalty per token of each head: 2 ** (-8 i / heads) for a power of two; otherwise those of the power
    below, then every other one of the power above."""
    power = 1 << (heads.bit_length() - 1)
    own = [2.0 ** (-8.0 * (index + 1) / power) for index in range(power)]
    return own + [2.0 ** (-4.0 * (2 * index + 1) / power) for index in range(heads - power)]
