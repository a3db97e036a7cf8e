"""LightSeq's 8-bit weights: bytes 0 to 254 stand for -clip to clip, 127 for zero.

Source: LightSeq's `lightseq/training/ops/pytorch/export_ptq.py` and `quantization.py`.
"""

from __future__ import annotations

from typing import Final

import numpy as np

RANGE: Final = 127
_SHARE: Final = 50000  # one value in this many is above the clip


def quantise(values: np.ndarray, clip: float) -> np.ndarray:
    """Return uint8 floor(clip(x * 127 / c, -127, 127) + 127.5)."""
    scaled = values.astype(np.float32)
    scaled *= RANGE
    scaled /= np.float32(clip)
    np.clip(scaled, -RANGE, RANGE, out=scaled)
    scaled += RANGE + 0.5
    return np.floor(scaled, out=scaled).astype(np.uint8)


def dequantise(values: np.ndarray, clip: np.ndarray | float) -> np.ndarray:
    """Return float32 (byte - 127) * c / 127; `clip` is one number or broadcasts against `values`."""
    result = values.astype(np.float32)
    result -= RANGE
    result *= np.asarray(clip, np.float32) / np.float32(RANGE)
    return result


def weight_clip(values: np.ndarray) -> float:
    """Return the clip of post-training quantisation: the k-th largest value, with k = max(size / 50000, 1).

    If that is not above 0, it is the largest magnitude, or 1 if all values are 0: a clip of 0 would lose the tensor,
    and protobuf does not store it.
    """
    count = max(int(values.size / _SHARE), 1)
    flat = values.reshape(-1)
    clip = float(np.partition(flat, flat.size - count)[flat.size - count])
    return clip if clip > 0 else float(np.abs(flat).max()) or 1.0
