"""The contents of a LightSeq file in either format: settings, and arrays that are read on access or made when written.

Knows neither protobuf nor HDF5, nor what an array is for. Paths are those of `.hdf5`: `encoder_stack/0/ffn_first_bias`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

Setting = int | float | bool | str | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StoredArray:
    """One stored array: how many numbers it has, whether they are bytes, and how to read them, flat."""

    size: int
    quantised: bool
    read: Callable[[], np.ndarray]


@dataclass(frozen=True, slots=True)
class FileContents:
    """One opened file. `settings` has those fields of the file that are not arrays.

    `source` names the file in messages; `layers` counts the messages of `encoder_stack` and `decoder_stack`.
    """

    source: str
    arrays: Mapping[str, StoredArray] = field(default_factory=dict)
    settings: Mapping[str, Setting] = field(default_factory=dict)
    layers: Mapping[str, int] = field(default_factory=dict)

    def size(self, path: str) -> int:
        """Return how many numbers `path` has, 0 if the file lacks it."""
        stored = self.arrays.get(path)
        return stored.size if stored else 0

    def number(self, path: str) -> float:
        """Return a numeric setting, 0 if the file lacks it, since proto3 leaves out zeros."""
        value = self.settings.get(path, 0)
        return value if isinstance(value, int | float) else 0

    def whole(self, path: str) -> int:
        """Return an integer setting, 0 if the file lacks it."""
        return int(self.number(path))

    def flag(self, path: str) -> bool:
        """Return a truth value, false if the file lacks it."""
        return bool(self.settings.get(path, False))

    def text(self, path: str) -> str:
        """Return a text, empty if the file lacks it."""
        return str(self.settings.get(path, ""))

    def list(self, path: str) -> tuple[int, ...]:
        """Return a list of integers, empty if the file lacks it."""
        value = self.settings.get(path, ())
        return value if isinstance(value, tuple) else ()


@dataclass(frozen=True, slots=True)
class OutputArray:
    """One array: `size` values of `width` bytes (4: float32, 1: uint8), and the function that makes them, flat."""

    size: int
    width: int
    make: Callable[[], np.ndarray]


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A whole file by paths. `late` are floats that are known only after the arrays before them have been made."""

    arrays: dict[str, OutputArray]
    settings: dict[str, Setting]
    layers: dict[str, int]
    late: dict[str, Callable[[], float]] = field(default_factory=dict)
