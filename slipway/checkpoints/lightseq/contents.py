"""What a LightSeq file holds or is about to hold, whichever of the two formats it has: settings, and arrays that are
not read yet, or are made when their turn comes to be written.

Knows neither protobuf nor HDF5 nor what an array is for. Paths are those of `.hdf5`: `encoder_stack/0/ffn_first_bias`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

Setting = int | float | bool | str | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StoredArray:
    """One array as the file keeps it: how many numbers, whether they are bytes, and how to get them, flat."""

    size: int
    quantised: bool
    read: Callable[[], np.ndarray]


@dataclass(frozen=True, slots=True)
class FileContents:
    """One opened file. `settings` has the fields that are no arrays, as far as the file has them.

    `source` names the file in messages; `layers` counts the messages of `encoder_stack` and `decoder_stack`.
    """

    source: str
    arrays: Mapping[str, StoredArray] = field(default_factory=dict)
    settings: Mapping[str, Setting] = field(default_factory=dict)
    layers: Mapping[str, int] = field(default_factory=dict)

    def size(self, path: str) -> int:
        """Return how many numbers `path` has, 0 when the file does not have it."""
        stored = self.arrays.get(path)
        return stored.size if stored else 0

    def number(self, path: str) -> float:
        """Return a numeric setting, 0 when the file does not have it, as proto3 leaves it out."""
        value = self.settings.get(path, 0)
        return value if isinstance(value, int | float) else 0

    def whole(self, path: str) -> int:
        """Return an integer setting, 0 when the file does not have it."""
        return int(self.number(path))

    def flag(self, path: str) -> bool:
        """Return a switch, off when the file does not have it."""
        return bool(self.settings.get(path, False))

    def text(self, path: str) -> str:
        """Return a text, empty when the file does not have it."""
        return str(self.settings.get(path, ""))

    def list(self, path: str) -> tuple[int, ...]:
        """Return a list of integers, empty when the file does not have it."""
        value = self.settings.get(path, ())
        return value if isinstance(value, tuple) else ()


@dataclass(frozen=True, slots=True)
class OutputArray:
    """One array: `size` values of `width` bytes (4: float32, 1: uint8), and what makes them, flat."""

    size: int
    width: int
    make: Callable[[], np.ndarray]


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A whole file by paths. `late` are floats that are known once the arrays before them have been made."""

    arrays: dict[str, OutputArray]
    settings: dict[str, Setting]
    layers: dict[str, int]
    late: dict[str, Callable[[], float]] = field(default_factory=dict)
