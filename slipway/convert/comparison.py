"""Comparison of a candidate's outputs with the expected ones: difference, cosine, shape, and non-finite values.

Pure, and the only place where the outputs of two models are compared. Tolerances are in thresholds.py; each gate
chooses its figures.

Infinity and NaN equal themselves, because a reference may mask scores with them. If only one side has them, the
difference is infinite and the cosine is NaN. Every criterion is written so that NaN fails it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


class ShapeError(Exception):
    """An output cannot be compared because it does not have the shape of the reference output."""


@dataclass(frozen=True, slots=True)
class Distance:
    """The largest absolute difference of two arrays, and the largest finite magnitude in the expected one."""

    absolute: float
    largest: float = 0.0

    @property
    def scale(self) -> float:
        """Return the divisor for relative differences: rounding errors grow with the outputs above 1."""
        return max(1.0, self.largest)

    @property
    def relative(self) -> float:
        """Return the difference, relative to the largest value if that exceeds 1."""
        return self.absolute / self.scale


def distance(found: np.ndarray, expected: np.ndarray) -> Distance:
    """Return the distance of two arrays, which is infinite if their shapes differ."""
    if found.shape != expected.shape:
        return Distance(np.inf)
    one, other = found.astype(np.float64), expected.astype(np.float64)
    with np.errstate(invalid="ignore"):  # infinity less infinity
        apart = np.asarray(np.abs(one - other))
    if not np.isfinite(apart).all():
        apart[_same(one, other)] = 0.0
        apart[np.isnan(apart)] = np.inf
    sizes = np.asarray(np.abs(other))
    return Distance(float(apart.max(initial=0.0)), float(sizes.max(initial=0.0, where=np.isfinite(sizes))))


def cosines(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return the cosine of each pair of vectors along the last axis; it is 1 for two zero vectors."""
    one, other = found.astype(np.float64), expected.astype(np.float64)
    masked = ~np.isfinite(other) & _same(one, other)
    if masked.any():
        one, other = np.where(masked, 0.0, one), np.where(masked, 0.0, other)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
        same = (one == other).all(-1).astype(np.float64)
        return np.asarray(np.where(lengths == 0, same, (one * other).sum(-1) / lengths))


def cosine(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the cosine of two arrays, each flattened to one vector; NaN if their shapes differ."""
    return float(cosines(found.ravel(), expected.ravel())) if found.shape == expected.shape else float("nan")


def cut(name: str, found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return the part of a padded output that has the expected shape; raise `ShapeError` if the output is smaller."""
    fits = found.ndim == expected.ndim and all(
        have >= want for have, want in zip(found.shape, expected.shape, strict=True)
    )
    if not fits:
        raise ShapeError(f"output '{name}' has shape {list(found.shape)}, the reference has {list(expected.shape)}")
    return found[tuple(slice(size) for size in expected.shape)]


def _same(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.asarray((one == other) | (np.isnan(one) & np.isnan(other)))
