"""Sinusoidal position tables as two families compute them; their files do not hold them."""

from __future__ import annotations

import numpy as np


def marian_positions(rows: int, hidden: int) -> np.ndarray:
    """Return Marian's table, float32 [rows, hidden]: sines of pos / 10000 ** (2i / hidden), then their cosines."""
    powers = np.power(10000.0, 2 * (np.arange(hidden) // 2) / hidden)
    angles = np.arange(rows)[:, None] / powers
    table = np.concatenate([np.sin(angles[:, 0::2]), np.cos(angles[:, 1::2])], axis=1)
    return np.asarray(table.astype(np.float32))


def fairseq_positions(rows: int, hidden: int, offset: int) -> np.ndarray:
    """Return M2M100's table, float32 [rows, hidden], which begins with position `offset` (the padding id and one).

    As tensor2tensor: frequencies from 1 to 1 / 10000 in equal ratios, sines, cosines, a zero where hidden is odd.
    Computed in float32 like the original: position 1000 in float64 would differ in the fifth digit.
    """
    half = hidden // 2
    step = np.float32(np.log(10000.0) / (half - 1))
    frequencies = np.exp(np.arange(half, dtype=np.float32) * -step)
    angles = np.arange(offset, offset + rows, dtype=np.float32)[:, None] * frequencies
    table = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    return np.asarray(np.pad(table, ((0, 0), (0, hidden % 2))).astype(np.float32))
