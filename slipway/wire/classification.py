"""The classification extension: replaces an output by its top classes, "value:index[:label]".

Source: Triton extension_classification.md; values are printed like C++ `std::to_string`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from math import prod
from typing import Final

import numpy as np

from slipway.core.large_work import LARGE_COUNT
from slipway.core.tensor import CountedTensor, Tensor
from slipway.errors import invalid

_SUPPORTED: Final = frozenset(
    ("UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP32", "FP64")
)
_MAX_ELEMENTS: Final = 1_000_000
_LENGTH: Final = struct.Struct("<I").pack


def classify(tensor: Tensor, classes: int, labels: tuple[str, ...], *, batched: bool) -> Tensor:
    """Return the BYTES tensor of the `classes` highest values, per row where `batched`; ties go to the lower index.

    NaN sorts last. The shape is [batch, k] or [k], where k is at most the number of elements (per row).
    """
    if tensor.datatype not in _SUPPORTED:
        raise invalid(f"class result not available for output due to unsupported type '{tensor.datatype}'")
    if tensor.element_count > _MAX_ELEMENTS:
        raise invalid(
            f"class result not available for output '{tensor.name}' with {tensor.element_count} elements, "
            f"more than {_MAX_ELEMENTS}"
        )
    rows = tensor.shape[0] if batched else 1
    per_row = prod(tensor.shape[1:]) if batched else tensor.element_count
    values = tensor.array.reshape(rows, per_row)
    count = min(classes, per_row)
    raw = bytearray()  # the wire form: a million Python objects would take ten times as much
    for row in values:
        for value, index in _top(row, count):
            entry = _entry(value, index, labels)
            raw += _LENGTH(len(entry))
            raw += entry
    shape = (rows, count) if batched else (count,)
    return CountedTensor(tensor.name, shape, memoryview(raw).toreadonly(), rows * count)


def _top(row: np.ndarray, count: int) -> Iterator[tuple[float | int, int]]:
    if row.dtype.kind == "f":
        order = np.argsort(-row, kind="stable")[:count]
    else:  # unsigned values cannot be negated: sort the reversed row upwards, so that ties stay in order
        order = (row.size - 1 - np.argsort(row[::-1], kind="stable")[::-1])[:count]
    for start in range(0, count, LARGE_COUNT):
        piece = order[start : start + LARGE_COUNT]
        yield from zip(row[piece].tolist(), piece.tolist(), strict=True)


def _entry(value: float, index: int, labels: tuple[str, ...]) -> bytes:
    text = f"{value:.6f}:{index}" if isinstance(value, float) else f"{value}:{index}"
    label = labels[index] if index < len(labels) else ""
    return (f"{text}:{label}" if label else text).encode()
