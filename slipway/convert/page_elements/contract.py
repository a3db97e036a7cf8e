"""What a page-element detector takes and returns, and what it leaves to others: its grid, and the names of its tensors.

The contract is nv-ingest's: `input` FP32 [3, 1024, 1024] and `output` FP32 [21504, 5 + labels]. Exports differ in the
names, in the decoding of the grid, and in whether they take any number of pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from slipway.convert.candidates.subject import Interface
from slipway.core.signature import TensorSpec
from slipway.documents.detection import LABELS, STRIDES
from slipway.documents.letterbox import SIDE
from slipway.errors import invalid

INPUT, OUTPUT, PAGE_SIZE = "input", "output", "page_size"
ROWS: Final = sum((SIDE // stride) ** 2 for stride in STRIDES)
_PIXELS: Final = (3, SIDE, SIDE)
_BOX: Final = 5  # columns before those of the labels
_FARTHEST: Final = 16.0  # cells between a row's cell and the centre of its box, for the middle one of all rows
_SLACK: Final = 1e-3  # of a probability


@dataclass(frozen=True, slots=True)
class PageDetector:
    """The names of a detector's tensors, its labels, and whether its output is decoded. `batched` is false for an
    export that takes exactly one page."""

    takes: str
    returns: str
    labels: tuple[str, ...]
    batched: bool
    decoded: bool = True

    def dims(self, *dims: int) -> tuple[int, ...]:
        """Return the dims that configs declare: an axis for the page, unless that is the batch axis."""
        return dims if self.batched else (1, *dims)

    @property
    def input(self) -> tuple[int, ...]:
        """The dims of the input."""
        return self.dims(*_PIXELS)

    @property
    def output(self) -> tuple[int, ...]:
        """The dims of the output."""
        return self.dims(ROWS, _BOX + len(self.labels))


def check_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the labels, by default those of nv-ingest; raise INVALID_ARG if they cannot name outputs."""
    chosen = tuple(labels) or LABELS
    taken = {INPUT, OUTPUT, PAGE_SIZE} & set(chosen)
    if taken or len(set(chosen)) != len(chosen) or not all(label and label == label.strip() for label in chosen):
        raise invalid(
            f"--labels {','.join(chosen)}: labels name the outputs, so each has to differ from the others and from "
            f"{INPUT}, {OUTPUT} and {PAGE_SIZE}"
        )
    return chosen


def detector_of(interface: Interface, labels: Sequence[str], source: str) -> PageDetector:
    """Return the detector with this interface; raise INVALID_ARG with what is different from the contract."""
    chosen = check_labels(labels)
    if len(interface.inputs) != 1 or len(interface.outputs) != 1:
        found = f"{_names(interface.inputs)} to {_names(interface.outputs)}"
        raise invalid(f"'{source}' is not a page-element detector: it maps {found}, expected one input and one output")
    (takes,), (returns,) = interface.inputs, interface.outputs
    detector = PageDetector(takes.name, returns.name, chosen, batched=interface.max_batch_size > 0)
    if takes.datatype != "FP32" or not _fits(takes.dims, detector.input):
        raise invalid(
            f"'{source}' is not a page-element detector: its input '{takes.name}' is {takes.datatype} "
            f"{list(takes.dims)}, expected FP32 {list(detector.input)}"
        )
    return detector


def check_output(output: np.ndarray, detector: PageDetector, source: str) -> None:
    """Raise INVALID_ARG if the output for one page does not have the rows of YOLOX and a column per label.

    Exporters often leave these sizes open, so they are known only once the detector has run.
    """
    expected = (1, ROWS, _BOX + len(detector.labels))
    if output.shape != expected or output.dtype != np.float32:
        columns = output.shape[-1] - _BOX if output.ndim == 3 and output.shape[1] == ROWS else 0
        advice = f"; --labels names its {columns} classes in their order" if columns > 0 else ""
        raise invalid(
            f"'{source}' does not fit the labels {', '.join(detector.labels)}: for one page, its output "
            f"'{detector.returns}' is {output.dtype} {list(output.shape)}, expected float32 {list(expected)}{advice}"
        )


def is_decoded(output: np.ndarray, source: str) -> bool:
    """Return whether the rows [pages, 21504, 5 + labels] hold boxes in pixels; false if they hold offsets from the
    cells of the grid. Raise INVALID_ARG if they are neither, or if the other columns are not probabilities.

    A row's box is near its cell, at most a few strides away. So the offsets are small numbers in one of the two forms.
    """
    centres, scores = output[:, :, :2].astype(np.float64), output[:, :, 4:]
    if not np.isfinite(output).all() or scores.min() < -_SLACK or scores.max() > 1 + _SLACK:
        raise invalid(
            f"'{source}' is not a page-element detector: from column 4 on, its output should hold probabilities, but "
            f"it holds values from {scores.min():.3g} to {scores.max():.3g}"
        )
    cells, strides = grid()
    in_pixels, in_cells = (float(np.median(np.abs(each))) for each in (centres / strides[:, None] - cells, centres))
    if min(in_pixels, in_cells) > _FARTHEST:
        raise invalid(
            f"'{source}' is not a YOLOX detector of {SIDE} x {SIDE} pixels: the centres of its boxes are "
            f"{in_pixels:.0f} cells from the cells of the grids of strides {', '.join(map(str, STRIDES))}"
        )
    return in_pixels <= in_cells


def grid() -> tuple[np.ndarray, np.ndarray]:
    """Return the column and row [21504, 2] of each row's cell, and its stride [21504]."""
    cells = [np.indices((SIDE // stride, SIDE // stride)).reshape(2, -1)[::-1].T for stride in STRIDES]
    return np.concatenate(cells), np.repeat(np.array(STRIDES), [len(each) for each in cells])


def _fits(dims: Sequence[int], wanted: Sequence[int]) -> bool:
    return len(dims) == len(wanted) and all(dim in (-1, size) for dim, size in zip(dims, wanted, strict=True))


def _names(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"'{spec.name}'" for spec in specs)
