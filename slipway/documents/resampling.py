"""Resizes images by products with banded matrices: one for the rows, one for the columns.

`LINEAR` samples between the two nearest pixel centres, as OpenCV's INTER_LINEAR does. `LANCZOS` is a windowed sinc of
three lobes, stretched by the factor of a reduction, as Pillow's LANCZOS is. Both round to whole levels once. A band is
the dense part of the matrix for a few output pixels, so the work is done by the matrix product of numpy's BLAS.
Products are kept so small that BLAS computes each in the calling thread: waking others for it takes longer, and twice
the processor time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Planes = NDArray[np.float32]  # [3, height, width], whole numbers from 0 to 255

# Output pixels of a band, measured on a page at 300 dpi: with fewer, a product has too little work; with more, its
# matrix is mostly zeros.
_ROWS: Final = 16
_COLUMNS: Final = 24
_STRIP: Final = 2  # bands of rows
_PRODUCT: Final = 1 << 18  # multiplications that OpenBLAS does not share among threads
_LOBES: Final = 3


class Filter(Enum):
    """How an output pixel is made of the input's."""

    LINEAR = "linear"
    LANCZOS = "lanczos"


class Band(NamedTuple):
    """Output pixels `start` to `stop` are `weights` [outputs, inputs] times the input pixels `first` to `last`."""

    start: int
    stop: int
    first: int
    last: int
    weights: NDArray[np.float32]


class _Taps(NamedTuple):
    """For each output pixel, the input pixels it is made of, and their weights: both [target, taps]."""

    indices: NDArray[np.intp]
    weights: NDArray[np.float64]


def resize(image: NDArray[np.uint8], out: Planes, how: Filter) -> None:
    """Write a page [H, W, 3] to the planes `out` [3, height, width], in their size."""
    columns = image.shape[1]

    def row_band(band: Band, rows: Planes) -> None:
        source = image[band.first : band.last].reshape(band.last - band.first, -1).astype(np.float32)
        mixed = np.empty((len(band.weights), source.shape[1]), np.float32)
        _multiply(band.weights, source, mixed)
        rows[:] = mixed.reshape(-1, columns, 3).transpose(2, 0, 1)

    _resize((image.shape[0], columns), out, how, row_band)


def resize_planes(planes: Planes, out: Planes, how: Filter) -> None:
    """Write planes [3, H, W] to the planes `out` [3, height, width], in their size."""

    def row_band(band: Band, rows: Planes) -> None:
        for plane, own in zip(planes, rows, strict=True):
            _multiply(band.weights, plane[band.first : band.last], own)

    _resize((planes.shape[1], planes.shape[2]), out, how, row_band)


def _resize(source: tuple[int, int], out: Planes, how: Filter, row_band: Callable[[Band, Planes], None]) -> None:
    """Write to `out` what `row_band` makes of a source of that size: the rows of a band, as wide as the source.

    A strip of rows at a time gets its columns, so that what lies between stays in the processor's cache.
    """
    _, height, width = out.shape
    row_bands = bands(source[0], height, how, _ROWS)
    for number in range(0, len(row_bands), _STRIP):
        of_strip = row_bands[number : number + _STRIP]
        start, stop = of_strip[0].start, of_strip[-1].stop
        rows = np.empty((3, stop - start, source[1]), np.float32)
        for band in of_strip:
            row_band(band, rows[:, band.start - start : band.stop - start])
        levels = _columns(rows, width, how)
        if how in _OVERSHOOTS:
            np.clip(levels, 0, 255, out=levels)
        np.rint(levels, out=out[:, start:stop])


def _multiply(weights: NDArray[np.float32], source: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Write `weights` [m, k] times `source` [k, n] to `out` [m, n], in products of a few columns each."""
    (most, inner), columns = weights.shape, source.shape[1]
    width = max(_PRODUCT // (most * inner), 1)
    whole = columns // width * width
    pieces = (source[:, :whole].reshape(inner, -1, width), out[:, :whole].reshape(most, -1, width))
    np.matmul(weights, pieces[0].transpose(1, 0, 2), out=pieces[1].transpose(1, 0, 2))
    np.matmul(weights, source[:, whole:], out=out[:, whole:])


def _columns(rows: Planes, width: int, how: Filter) -> Planes:
    """Return [3, n, width], made of `rows` [3, n, W]."""
    lines = rows.reshape(-1, rows.shape[2])
    out = np.empty((len(lines), width), np.float32)
    for band in bands(rows.shape[2], width, how, _COLUMNS):
        own, target = lines[:, band.first : band.last], out[:, band.start : band.stop]
        most = max(_PRODUCT // band.weights.size, 1)
        for start in range(0, len(lines), most):
            np.matmul(own[start : start + most], band.weights.T, out=target[start : start + most])
    return out.reshape(3, -1, width)


@lru_cache(maxsize=16)  # the pages of a document share few sizes; for a side of 65 536 pixels, an entry has 10 MB
def bands(source: int, target: int, how: Filter, size: int) -> tuple[Band, ...]:
    """Return the matrix that makes `target` pixels of `source` pixels, in bands of `size` output pixels."""
    taps = _TAPS[how](source, target)
    return tuple(_band(taps, start, min(start + size, target)) for start in range(0, target, size))


def _band(taps: _Taps, start: int, stop: int) -> Band:
    indices = taps.indices[start:stop]
    first, last = int(indices.min()), int(indices.max()) + 1
    weights = np.zeros((stop - start, last - first))
    lines = np.arange(stop - start)[:, None]
    np.add.at(weights, (lines, indices - first), taps.weights[start:stop])
    return Band(start, stop, first, last, weights.astype(np.float32))


def _linear_taps(source: int, target: int) -> _Taps:
    position = (np.arange(target) + 0.5) * (source / target) - 0.5
    position = position.clip(0, source - 1)
    below = np.floor(position).astype(np.intp)
    above = np.minimum(below + 1, source - 1)
    part = position - below
    return _Taps(np.stack([below, above], axis=1), np.stack([1 - part, part], axis=1))


def _lanczos_taps(source: int, target: int) -> _Taps:
    scale = source / target
    stretch = max(scale, 1.0)
    reach = _LOBES * stretch
    centre = ((np.arange(target) + 0.5) * scale)[:, None]
    first = np.floor(centre - reach + 0.5).astype(np.intp)
    indices = first + np.arange(int(np.ceil(2 * reach)) + 2)
    at = (indices - centre + 0.5) / stretch
    weights = np.where(np.abs(at) < _LOBES, np.sinc(at) * np.sinc(at / _LOBES), 0.0)
    weights[(indices < 0) | (indices >= source)] = 0.0  # the filter ends at the edge
    weights /= weights.sum(axis=1, keepdims=True)
    return _Taps(indices.clip(0, source - 1), weights)


_TAPS: Final[Mapping[Filter, Callable[[int, int], _Taps]]] = {
    Filter.LINEAR: _linear_taps,
    Filter.LANCZOS: _lanczos_taps,
}
_OVERSHOOTS: Final = frozenset({Filter.LANCZOS})  # its weights may be negative
