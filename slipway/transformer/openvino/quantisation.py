"""Matrices as int8 with a scale per row, and as int4 with a scale per group of a row. Data-free: only weights are seen.

Both are symmetric: a weight is its integer times a scale. Knows numpy only.
"""

from __future__ import annotations

from typing import Final

import numpy as np

GROUPS: Final = (128, 64, 32)  # the size of an int4 group: the largest that divides the row
CHUNK_BYTES: Final = 2**25  # of float32 rows that are quantised at once
# The largest weight of a group lies on the integer -8, then the scale shrinks step by step: the largest weights are
# cut off, the others rounded more finely. The step with the smallest squared error is kept.
SHRINKS: Final = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75)


def group_size(row: int) -> int:
    """Return the size of the int4 groups of a row of that length, 0 if it cannot be divided."""
    return next((size for size in GROUPS if row % size == 0), 0)


def int8_rows(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return int8 [out, in] and the scales float32 [out]: a row's largest magnitude becomes 127."""
    result, scales = np.empty(matrix.shape, np.int8), np.empty(len(matrix), np.float32)
    for part in _parts(matrix):
        rows = np.asarray(matrix[part], np.float32)
        scale = _nonzero(np.abs(rows).max(axis=1) / np.float32(127))
        result[part] = np.rint(rows / scale[:, None])
        scales[part] = scale
    return result, scales


def int4_groups(matrix: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 [out, in / 2], two's complement with the even columns in the low halves, and the scales float32
    [out, in / size]."""
    out, into = matrix.shape
    packed, scales = np.empty((out, into // 2), np.uint8), np.empty((out, into // size), np.float32)
    for part in _parts(matrix):
        groups = np.asarray(matrix[part], np.float32).reshape(-1, size)
        integers, scale = _best(groups)
        halves = integers.reshape(-1, into).view(np.uint8) & 15
        packed[part] = halves[:, ::2] | halves[:, 1::2] << 4
        scales[part] = scale.reshape(-1, into // size)
    return packed, scales


def _best(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return int8 [groups, size] in -8..7 and the scales [groups] with the smallest error among the shrinks."""
    rows = np.arange(len(groups))
    largest = groups[rows, np.abs(groups).argmax(axis=1)]  # with its sign: a scale may be negative
    least = np.full(len(groups), np.inf, np.float32)
    best, scales = np.zeros(groups.shape, np.int8), np.ones(len(groups), np.float32)
    for shrink in SHRINKS:
        scale = _nonzero(largest * np.float32(-shrink / 8))
        integers = np.clip(np.rint(groups / scale[:, None]), -8, 7)
        # The scale that fits these integers best, in the sense of least squares.
        squares = np.einsum("gi,gi->g", integers, integers)
        scale = np.where(squares > 0, np.einsum("gi,gi->g", groups, integers) / np.maximum(squares, 1), scale)
        error = groups - integers * scale[:, None]
        loss = np.einsum("gi,gi->g", error, error)
        better = loss < least
        best[better], scales[better], least[better] = integers[better], scale[better], loss[better]
    return best, scales


def _nonzero(scale: np.ndarray) -> np.ndarray:
    """Return the scales with 1 for those of zeros, and for those that are too small to divide by."""
    return np.where(np.abs(scale) < np.finfo(np.float32).tiny, np.float32(1), scale)


def _parts(matrix: np.ndarray) -> list[slice]:
    rows = max(1, CHUNK_BYTES // (4 * matrix.shape[1]))
    return [slice(start, start + rows) for start in range(0, len(matrix), rows)]
