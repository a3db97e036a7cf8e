"""The output of a YOLOX page-element model to rows per label: `[x1, y1, x2, y2, score]` in parts of the page.

The model's output is FP32 [batch, rows, 5 + classes]: centre, width and height in pixels of its 1024 x 1024 input, the
probability of an object, and one per class. Rows that are not finite, or lie beside the page, are no elements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from slipway.documents.boxes import areas, suppressed
from slipway.documents.charts import expanded_charts
from slipway.documents.letterbox import SIDE, input_scale
from slipway.errors import invalid

Elements = Mapping[str, NDArray[np.float64]]  # [n, 5] by label, best score first

LABELS: Final = ("table", "chart", "title")
STRIDES: Final = (8, 16, 32)
MOST_ROWS: Final = 1 << 16  # of one page; YOLOX has 21 504 at 1024 x 1024
_ABOVE_TABLES: Final = 0.2  # of a table's height: its title, if it has one
_DECIMALS: Final = 4


@dataclass(frozen=True, slots=True)
class DetectionRules:
    """What counts as an element: `least_product` of object and class probability before suppression, a score above
    `least_score` after it, boxes that overlap a better one by at most `most_overlap`, at most `most` per page."""

    labels: tuple[str, ...] = LABELS
    least_product: float = 0.48
    most_overlap: float = 0.5
    least_score: float = 0.1
    most: int = 512

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {value}, expected 0 to 1"
            for name, value in (
                ("least_product", self.least_product),
                ("most_overlap", self.most_overlap),
                ("least_score", self.least_score),
            )
            if not 0 <= value <= 1
        ]
        if self.most < 1:
            problems.append(f"most is {self.most}, expected at least 1")
        if not self.labels or len(set(self.labels)) != len(self.labels):
            problems.append(f"labels are {list(self.labels)}, expected at least one, each once")
        if problems:
            raise invalid(f"detection rules: {'; '.join(problems)}")


def page_elements(
    output: NDArray[Any], sizes: Sequence[tuple[int, int]], rules: DetectionRules | None = None
) -> list[Elements]:
    """Return the elements of each page of a batch; `sizes` are the pages' (height, width) from `PageBatch`.

    Table boxes reach up by a fifth of their height; charts are joined and grown by `charts.expanded_charts`.
    Coordinates and scores have four decimals. Raises INVALID_ARG if the output does not have the shape that the labels
    and sizes require.
    """
    rules = rules or DetectionRules()
    columns = 5 + len(rules.labels)
    if output.dtype.kind != "f" or output.ndim != 3 or output.shape[2] != columns:
        expected = f"floating point [pages, rows, {columns}] for the labels {', '.join(rules.labels)}"
        raise invalid(f"detection output: it is {output.dtype} {list(output.shape)}, expected {expected}")
    if len(output) != len(sizes):
        raise invalid(f"detection output: it has {len(output)} pages, and there are {len(sizes)} page sizes")
    if output.shape[1] > MOST_ROWS:
        raise invalid(f"detection output: it has {output.shape[1]} rows per page; the limit is {MOST_ROWS}")
    if any(height < 1 or width < 1 for height, width in sizes):
        raise invalid(f"detection output: the page sizes are {list(sizes)}, expected at least 1 x 1")
    return [_elements(rows, height, width, rules) for rows, (height, width) in zip(output, sizes, strict=True)]


def decoded_grid(output: NDArray[Any], side: int = SIDE) -> NDArray[np.float32]:
    """Return the output [batch, rows, columns] of a YOLOX head that leaves out the decoding, decoded.

    The rows are the cells of the grids of strides 8, 16 and 32, each row by row. Centres are offsets from the cell in
    strides; widths and heights are logarithms of strides (Ge et al. 2021, YOLOX, section 2). The other columns remain.
    """
    cells = [np.indices((side // stride, side // stride)).reshape(2, -1)[::-1].T for stride in STRIDES]
    rows = sum(map(len, cells))
    if output.ndim != 3 or output.shape[1] != rows or output.shape[2] < 5:
        raise invalid(f"detection output: its shape is {list(output.shape)}, expected [pages, {rows}, 5 + classes]")
    strides = np.repeat(np.array(STRIDES, np.float32), [len(each) for each in cells])[:, None]
    decoded = output.astype(np.float32)
    decoded[:, :, :2] = (decoded[:, :, :2] + np.concatenate(cells).astype(np.float32)) * strides
    with np.errstate(over="ignore"):  # an infinite box is not an element
        decoded[:, :, 2:4] = np.exp(decoded[:, :, 2:4]) * strides
    return decoded


def _elements(rows: NDArray[Any], height: int, width: int, rules: DetectionRules) -> Elements:
    boxes, scores, classes = _candidates(rows, rules)
    kept = suppressed(boxes, scores, rules.most_overlap, rules.most)
    kept = kept[scores[kept] > rules.least_score]
    boxes, scores, classes = boxes[kept], scores[kept], classes[kept]
    scale = input_scale(height, width)
    boxes = (boxes / scale / (width, height, width, height)).clip(0, 1)
    on_page = areas(boxes) > 0
    found = np.column_stack([boxes, scores])[on_page]
    classes = classes[on_page]
    elements = {label: found[classes == number] for number, label in enumerate(rules.labels)}
    if "table" in elements:
        tables = elements["table"]
        tables[:, 1] = np.maximum(tables[:, 1] - _ABOVE_TABLES * (tables[:, 3] - tables[:, 1]), 0)
    elements = {label: each.round(_DECIMALS) for label, each in elements.items()}
    if "chart" in elements:
        titles = elements.get("title", np.zeros((0, 5)))
        elements["chart"] = expanded_charts(elements["chart"], titles).round(_DECIMALS)
    return elements


def _candidates(
    rows: NDArray[Any], rules: DetectionRules
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    """Return boxes [n, 4] in the input's pixels, scores [n] and class numbers [n] of the rows that may be elements."""
    rows = rows.astype(np.result_type(rows, np.float32), copy=False)
    with np.errstate(invalid="ignore", over="ignore"):  # such rows are left out
        likely = rows[:, 4] * np.maximum.reduce(rows[:, 5:].T) >= rules.least_product
    rows = rows[likely]
    rows = rows[np.isfinite(rows).all(axis=1)].astype(np.float64)
    halves = rows[:, 2:4] / 2
    boxes = np.concatenate([rows[:, :2] - halves, rows[:, :2] + halves], axis=1)
    return boxes, rows[:, 4] * rows[:, 5:].max(axis=1), rows[:, 5:].argmax(axis=1)
