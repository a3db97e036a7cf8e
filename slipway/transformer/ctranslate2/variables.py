"""Variables of a CTranslate2 model that are read when they are written, so that only one array is in memory at a time.

`ctranslate2.specs` keeps a whole model in memory until it is saved, but a subclass of its `Variable` may make its bytes
on demand. Imports `ctranslate2.specs` (which imports torch if it is installed): only conversion may import this module.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import ml_dtypes
import numpy as np
from ctranslate2.specs.model_spec import Variable

DTYPES = {name: np.dtype(name) for name in ("float32", "float16", "int8")} | {"bfloat16": np.dtype(ml_dtypes.bfloat16)}
CHUNK_ROWS = 4096  # rows quantised at once; limits the size of the float copy of a large vocabulary

Read = Callable[[], np.ndarray]


class DeferredVariable(Variable):  # type: ignore[misc]  # the library has no types
    """An array that is read when it is written. Two variables with the same `key` are the same array."""

    def __init__(self, key: str, shape: tuple[int, ...], dtype: str, read: Read) -> None:
        self.key = key
        self._shape = shape
        self._dtype = dtype
        self._read = read

    @property
    def shape(self) -> list[int]:
        """The lengths of the axes."""
        return list(self._shape)

    @property
    def dtype(self) -> str:
        """CTranslate2's name of the datatype."""
        return self._dtype

    def numpy(self) -> np.ndarray:
        """Read the array in its datatype."""
        return np.ascontiguousarray(self._read(), dtype=DTYPES[self._dtype])

    def num_bytes(self) -> int:
        """Return the size in the file."""
        return prod(self._shape) * int(DTYPES[self._dtype].itemsize)

    def to_bytes(self) -> memoryview:
        """Read the array and return its bytes without a copy."""
        return self.numpy().reshape(-1).view(np.uint8).data

    def _to(self, dtype: str) -> Variable:
        raise TypeError(f"{self.key} is saved as {self._dtype}, not as {dtype}")

    def _equal(self, other: DeferredVariable) -> bool:
        return self.key == other.key  # without reading the arrays


class QuantisedMatrix:
    """A matrix as int8 with one scale per row, as CTranslate2 computes with it: 127 / the row's largest magnitude."""

    def __init__(self, key: str, shape: tuple[int, ...], read: Read) -> None:
        self._read = read
        self._scale: np.ndarray | None = None
        self.weight = DeferredVariable(key, shape, "int8", self._quantise)
        self.scale = DeferredVariable(f"{key} scale", shape[:1], "float32", self._scales)

    def _quantise(self) -> np.ndarray:
        result, self._scale = self._quantised()
        return result

    def _scales(self) -> np.ndarray:
        # The writer sorts by name: `weight` comes before `weight_scale`.
        return self._quantised()[1] if self._scale is None else self._scale

    def _quantised(self) -> tuple[np.ndarray, np.ndarray]:
        matrix = self._read()
        result = np.empty(matrix.shape, np.int8)
        scales = np.empty(len(matrix), np.float32)
        for start in range(0, len(matrix), CHUNK_ROWS):
            part = slice(start, start + CHUNK_ROWS)
            rows = np.asarray(matrix[part], dtype=np.float32)
            largest = np.abs(rows).max(axis=1)
            largest[largest == 0] = 127.0  # a row of zeros: any scale will do
            # The scale of a row of subnormal numbers must stay finite.
            scales[part] = np.float32(127) / np.maximum(largest, np.float32(127) / np.finfo(np.float32).max)
            result[part] = np.rint(rows * scales[part][:, None])
        return result, scales
