"""The subject of a conversion, independent of its source: tensors, exports, and reference outputs.

The interface between the kinds of sources (the `*_subject.py` and `subject.py` of the wings) and the code that exports,
compares, measures and packages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from slipway.convert.arrays import Arrays
from slipway.core.signature import TensorSpec


class Matching(Protocol):
    """How the outputs of one row are compared if their order has no meaning, such as that of detected objects."""

    def aligned(self, found: Arrays, expected: Arrays) -> Arrays:
        """Return the found outputs in the order of the expected ones."""

    def kept(self, found: Arrays, expected: Arrays) -> np.ndarray:
        """Return whether each result of the reference is one of the aligned outputs too, BOOL [results]."""


@dataclass(frozen=True, slots=True)
class Interface:
    """The tensors of the model without the batch dimension; `max_batch_size` is 0 if there is none, and `unbatched` is
    the reason if the tensors' shapes do not show it.

    `pad_values` has a value for each input whose variable dims may be padded; `trims` maps variable dims of outputs to
    those of the inputs that they follow, as (output, dim, input, dim).
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int
    pad_values: Mapping[str, int] = field(default_factory=dict)
    trims: tuple[tuple[str, int, str, int], ...] = ()
    compares_labels: bool = False  # the result is the arg-max over the last dim of each output, or what `matching` says
    embeds: bool = False  # the output is a vector whose direction matters
    longest: int = 0  # maximum tokens in a row; 0 if unknown
    unknown_ranges: tuple[str, ...] = ()  # integer inputs with unknown range
    sizes: tuple[int, ...] = ()  # sizes that variable dims may have, among those tried; () for any
    unbatched: str = ""
    measured: tuple[int, ...] = ()  # sizes to measure with, if the requested lengths in tokens do not apply
    unit: str = "tokens"  # of those sizes
    sampled: str = "texts"  # what the cases marked as `texts` hold
    matching: Matching | None = None  # how a row's outputs are matched with the reference's, if it is not by position


@dataclass(frozen=True, slots=True)
class Case:
    """One input for the gate: a batch, and each of its rows alone and without padding. `texts` marks rows of real text,
    whose nearest neighbours are compared."""

    name: str
    batch: Arrays
    alone: tuple[Arrays, ...]
    texts: bool = False


class Subject(Protocol):
    """The network of an opened source."""

    interface: Interface
    reference_name: str  # the name of the reference in the report

    def cases(self) -> Sequence[Case]:
        """Return the inputs for the gate."""

    def reference(self, alone: Arrays) -> Arrays:
        """Return the expected outputs of a single row (batch of 1), from the source's own framework in FP32."""

    def sample(self, length: int, rows: int) -> Arrays:
        """Return a batch with about `length` tokens per row, to measure with."""

    def export_onnx(self, path: Path) -> None:
        """Write the model as an ONNX file."""

    def export_torch(self, path: Path, precision: str) -> None:
        """Write the model as TorchScript with the tensors of the interface; raise `SlipwayError` if impossible."""


@runtime_checkable
class Program(Protocol):
    """A subject that engines read directly: tracing it would fix its variable sizes."""

    def openvino_model(self) -> Any:
        """Return the openvino.Model with the interface's names and shapes; pass on the library's errors."""

    def copy_program(self, directory: Path) -> str:
        """Write the file that torch serves and return its name."""
