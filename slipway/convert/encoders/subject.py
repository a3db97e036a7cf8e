"""What a conversion works on, whatever it was read from: tensors, exports, and what is right.

The seam between the kinds of sources (text_subject.py, graph_subject.py, module_subject.py) and everything that
exports, compares, measures and packages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from slipway.convert.arrays import Arrays
from slipway.core.signature import TensorSpec


@dataclass(frozen=True, slots=True)
class Interface:
    """The tensors of the model, batch dimension excluded; `max_batch_size` 0 where there is none, which `unbatched`
    explains where the tensors' shapes do not.

    `pad_values` has a value for each input whose variable dims may be padded; `trims` says which variable dim of an
    output follows which of an input, as (output, dim, input, dim).
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int
    pad_values: Mapping[str, int] = field(default_factory=dict)
    trims: tuple[tuple[str, int, str, int], ...] = ()
    compares_labels: bool = False  # arg-max over the last dim of each output is the answer
    embeds: bool = False  # the output is a vector that is compared by its direction
    longest: int = 0  # tokens of a row; 0 where it is not known
    unknown_ranges: tuple[str, ...] = ()  # integer inputs of which nobody knows what values they take
    sizes: tuple[int, ...] = ()  # those that variable dims may have, as far as they were tried; () for any
    unbatched: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One input of the gate: a batch, and each of its rows alone and without padding."""

    name: str
    batch: Arrays
    alone: tuple[Arrays, ...]


class Subject(Protocol):
    """A source that was read."""

    interface: Interface
    reference_name: str  # what the gate compares with, for people

    def cases(self) -> Sequence[Case]:
        """Return what the gate asks."""

    def reference(self, alone: Arrays) -> Arrays:
        """Return what one row alone must give, in the source's own framework and FP32; batch dimension kept."""

    def sample(self, length: int, rows: int) -> Arrays:
        """Return a batch of about `length` tokens a row, to measure with."""

    def calibration(self, texts: Sequence[str]) -> Sequence[Arrays]:
        """Return single rows of typical input for quantisation."""

    def export_onnx(self, path: Path) -> None:
        """Write the model as an ONNX file."""

    def export_torch(self, path: Path, precision: str) -> None:
        """Write the model as TorchScript that takes and gives what the interface says; raise where there is none."""


@runtime_checkable
class Program(Protocol):
    """A subject that engines read as it is: a trace of it would fix what varies."""

    def openvino_model(self) -> Any:
        """Return the openvino.Model with the interface's names and shapes; raise what the library raises."""

    def copy_program(self, directory: Path) -> str:
        """Write the file that torch serves and return its name."""
