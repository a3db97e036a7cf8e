"""How fast each pair of numbers of a head is rotated (Su et al. 2021), for every way to extend a model's context.

Pure numbers, for any engine: the angle of a pair at position p is p times its inverse frequency. The methods are those
of the papers that `spec.RotaryScaling` names, in the form in which published models use them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from slipway.transformer.spec import Rotary, RotaryScaling

_BY_LENGTH: Final = (RotaryScaling.DYNAMIC, RotaryScaling.LONGROPE)


def depends_on_length(rotary: Rotary) -> bool:
    """Return whether the frequencies change with the length of the sequence, not only with the position."""
    return rotary.scaling in _BY_LENGTH


def inverse_frequencies(rotary: Rotary, length: int = 0) -> np.ndarray:
    """Return the angle between two neighbouring positions for each pair, float32 [size / 2], in a sequence of `length`
    tokens, which matters only if `depends_on_length`."""
    frequencies: np.ndarray = _SCALED[rotary.scaling](rotary, length).astype(np.float32)
    return frequencies


def _plain(rotary: Rotary, length: int) -> np.ndarray:  # noqa: ARG001
    return _with_base(rotary, rotary.base)


def _linear(rotary: Rotary, length: int) -> np.ndarray:  # noqa: ARG001
    return _with_base(rotary, rotary.base) / rotary.factor


def _dynamic(rotary: Rotary, length: int) -> np.ndarray:
    """Beyond the original length, the base grows so that the slowest pair turns `factor` times slower at `factor` times
    the length."""
    if rotary.size == 2:
        return _with_base(rotary, rotary.base)  # its only pair has frequency 1, whatever the base is
    stretch = rotary.factor * max(length, rotary.original_length) / rotary.original_length - (rotary.factor - 1.0)
    return _with_base(rotary, rotary.base * stretch ** (rotary.size / (rotary.size - 2)))


def _yarn(rotary: Rotary, length: int) -> np.ndarray:  # noqa: ARG001
    """Between two bounds, a frequency and the same divided by `factor` are mixed (Peng et al. 2023, section 3.2)."""
    first, last = (_pair_with_rotations(rotary, rotations) for rotations in (rotary.beta_fast, rotary.beta_slow))
    if rotary.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, rotary.size - 1)
    width = last - first if last != first else 0.001
    slowed = np.clip((np.arange(rotary.size // 2) - first) / width, 0.0, 1.0)
    own = _with_base(rotary, rotary.base)
    return _mixed(rotary, own, 1.0 - slowed)


def _llama3(rotary: Rotary, length: int) -> np.ndarray:  # noqa: ARG001
    """Pairs that turn often within the original length keep their frequency, those that turn seldom have it divided."""
    own = _with_base(rotary, rotary.base)
    rotations = rotary.original_length * own / (2.0 * math.pi)
    low, high = rotary.low_frequency_factor, rotary.high_frequency_factor
    kept = np.clip((rotations - low) / (high - low), 0.0, 1.0) if high != low else (rotations >= low).astype(float)
    return _mixed(rotary, own, kept)


def _longrope(rotary: Rotary, length: int) -> np.ndarray:
    factors = rotary.long_factors if length > rotary.original_length else rotary.short_factors
    return _with_base(rotary, rotary.base) / np.asarray(factors, np.float64)


_SCALED: Final[dict[RotaryScaling, Callable[[Rotary, int], np.ndarray]]] = {
    RotaryScaling.NONE: _plain,
    RotaryScaling.LINEAR: _linear,
    RotaryScaling.DYNAMIC: _dynamic,
    RotaryScaling.YARN: _yarn,
    RotaryScaling.LLAMA3: _llama3,
    RotaryScaling.LONGROPE: _longrope,
}


def _with_base(rotary: Rotary, base: float) -> np.ndarray:
    exponents = np.arange(0, rotary.size, 2, dtype=np.float64) / rotary.size
    frequencies: np.ndarray = base**-exponents
    return frequencies


def _mixed(rotary: Rotary, own: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return frequencies of which the part `kept` (0 to 1, for each pair) stays and the rest is divided."""
    frequencies: np.ndarray = own * kept + own / rotary.factor * (1.0 - kept)
    return frequencies


def _pair_with_rotations(rotary: Rotary, rotations: float) -> float:
    """Return the (fractional) index of the pair that makes so many full turns within the original length."""
    turns = math.log(rotary.original_length / (rotations * 2.0 * math.pi))
    return rotary.size * turns / (2.0 * math.log(rotary.base))
