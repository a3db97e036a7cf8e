"""The angles of rotary positions, as cosine and sine of each new token. Knows numpy only.

They are computed outside the graph, because some depend on the length of the sequence. Rows and angles are float32, as
in `transformers`.
"""

from __future__ import annotations

from math import log, pi

import numpy as np

from slipway.transformer.spec import Rotary, RotaryScaling


class RotaryAngles:
    """Cosine and sine for tokens at given positions of sequences of given lengths."""

    def __init__(self, rotary: Rotary) -> None:
        self._rotary = rotary
        self._by_length = rotary.scaling in (RotaryScaling.DYNAMIC, RotaryScaling.LONGROPE)
        self._frequencies = frequencies(rotary, 0)

    def at(self, positions: np.ndarray, lengths: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return cosine and sine, float32 [tokens, 1, 1, size], of `positions` [tokens].

        `counts` are the new tokens of each sequence, `lengths` the lengths of the sequences.
        """
        if self._by_length:
            rows = np.stack([frequencies(self._rotary, int(length)) for length in lengths])
            angles = positions.astype(np.float32)[:, None] * np.repeat(rows, counts, axis=0)
        else:
            angles = positions.astype(np.float32)[:, None] * self._frequencies
        magnitude = np.float32(self._rotary.magnitude)
        return tuple(self._spread(part(angles) * magnitude) for part in (np.cos, np.sin))  # type: ignore[return-value]

    def _spread(self, half: np.ndarray) -> np.ndarray:
        """Return [tokens, size / 2] as [tokens, 1, 1, size]: one figure for each number of a head."""
        whole = np.repeat(half, 2, axis=1) if self._rotary.interleaved else np.concatenate((half, half), axis=1)
        return whole[:, None, None]


def frequencies(rotary: Rotary, length: int) -> np.ndarray:
    """Return the angle per position of each pair, float32 [size / 2], for a sequence of `length` tokens."""
    size, base, scaling = rotary.size, rotary.base, rotary.scaling
    if scaling is RotaryScaling.DYNAMIC and length > rotary.original_length:
        growth = rotary.factor * length / rotary.original_length - (rotary.factor - 1)
        base *= growth ** (size / (size - 2))
    plain = (1.0 / base ** (np.arange(0, size, 2, dtype=np.float32) / np.float32(size))).astype(np.float32)
    if scaling is RotaryScaling.LINEAR:
        return (plain / np.float32(rotary.factor)).astype(np.float32)
    if scaling is RotaryScaling.YARN:
        return _yarn(rotary, plain)
    if scaling is RotaryScaling.LLAMA3:
        return _llama3(rotary, plain)
    if scaling is RotaryScaling.LONGROPE:
        factors = rotary.long_factors if length > rotary.original_length else rotary.short_factors
        return (plain / np.asarray(factors, np.float32)).astype(np.float32)
    return plain


def _yarn(rotary: Rotary, plain: np.ndarray) -> np.ndarray:
    """Mix the frequencies and those divided by the factor (Peng et al. 2023, section 3.2)."""

    def bound(rotations: float) -> float:
        """Return the index of the pair that turns so often within the original length."""
        return rotary.size * log(rotary.original_length / (rotations * 2 * pi)) / (2 * log(rotary.base))

    low, high = bound(rotary.beta_fast), bound(rotary.beta_slow)
    if rotary.truncate:
        low, high = float(np.floor(low)), float(np.ceil(high))
    low, high = max(low, 0.0), min(high, rotary.size - 1.0)
    ramp = np.clip((np.arange(len(plain)) - low) / max(high - low, 0.001), 0, 1).astype(np.float32)
    return (plain / np.float32(rotary.factor) * ramp + plain * (1 - ramp)).astype(np.float32)


def _llama3(rotary: Rotary, plain: np.ndarray) -> np.ndarray:
    """Divide the frequencies of long waves, with a smooth step to those that stay."""
    low, high = rotary.low_frequency_factor, rotary.high_frequency_factor
    waves = 2 * pi / plain.astype(np.float64)
    smooth = np.clip((rotary.original_length / waves - low) / (high - low), 0, 1)
    return ((1 - smooth) * plain / rotary.factor + smooth * plain).astype(np.float32)
