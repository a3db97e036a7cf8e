"""Sinusoidal position tables of two families, which compute them instead of storing them."""

from __future__ import annotations

from math import log

import numpy as np


def marian_positions(rows: int, hidden: int) -> np.ndarray:
    """Return Marian's table, float32 [rows, hidden]: sines of pos / 10000 ** (2i / hidden), then their cosines."""
    powers = np.power(10000.0, 2 * (np.arange(hidden) // 2) / hidden)
    angles = np.arange(rows)[:, None] / powers
    table = np.concatenate([np.sin(angles[:, 0::2]), np.cos(angles[:, 1::2])], axis=1)
    return np.asarray(table.astype(np.float32))


def fairseq_positions(rows: int, hidden: int, offset: int) -> np.ndarray:
    """Return M2M100's table, float32 [rows, hidden], which begins with position `offset` (the padding id plus one).

    As in tensor2tensor: frequencies from 1 to 1 / 10000 in equal ratios, sines, cosines, and a zero if `hidden` is odd.
    Computed by torch in float32 like the original: another exponential differs in the last bit, which is the fifth
    digit at position 1000.
    """
    import torch

    half = hidden // 2
    frequencies = torch.exp(torch.arange(half).float() * -(log(10000.0) / (half - 1)))
    angles = torch.arange(offset, offset + rows).float()[:, None] * frequencies
    table: np.ndarray = torch.cat([torch.sin(angles), torch.cos(angles)], dim=1).numpy()
    return np.pad(table, ((0, 0), (0, hidden % 2)))


def timing_signal(rows: int, hidden: int) -> np.ndarray:
    """Return tensor2tensor's table, float32 [rows, hidden]: all sines, then all cosines.

    The wavelengths are from 2 pi to 20 000 pi in equal ratios (`get_timing_signal_1d`); `hidden` is even.
    """
    half = hidden // 2
    frequencies = np.exp(np.arange(half) * -(log(10000.0) / max(half - 1, 1)))
    angles = np.arange(rows)[:, None] * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
