"""What is about to be written, for either format: sizes known now, numbers when their turn comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from slipway.checkpoints.lightseq.contents import Setting


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
