"""Boxes as arrays [n, 4] of x1, y1, x2, y2: area, overlap, suppression. Knows no classes and no page."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]
Scores = NDArray[np.float64]

MOST_COMPARED: Final = 4096  # an element of a page is found by a few dozen of a detector's rows


def areas(boxes: Boxes) -> NDArray[np.float64]:
    """Return the areas [n], 0 for boxes whose sides are not positive."""
    sides: NDArray[np.float64] = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def overlaps(boxes: Boxes, box: Boxes) -> NDArray[np.float64]:
    """Return the intersection over union [n] of `boxes` with one box, 0 where neither has an area."""
    first = np.maximum(boxes[:, :2], box[:2])
    last = np.minimum(boxes[:, 2:], box[2:])
    shared = areas(np.concatenate([first, last], axis=1))
    union = areas(boxes) + areas(box) - shared
    return np.divide(shared, union, out=np.zeros(len(boxes)), where=union > 0)


def suppressed(boxes: Boxes, scores: Scores, most_overlap: float, most: int) -> NDArray[np.intp]:
    """Return which boxes remain, best score first: none overlaps a better one by more than `most_overlap`.

    This is greedy non-maximum suppression over all classes. Of equal scores the earlier box is better. The best 4 096
    boxes are compared and at most `most` remain, which bounds the work to `most` passes over them.
    """
    order = np.argsort(-scores, kind="stable")[:MOST_COMPARED]
    compared = boxes[order]
    rest = np.ascontiguousarray(np.column_stack([compared, areas(compared), order]).T)  # one contiguous row per value
    kept: list[int] = []
    while rest.shape[1] and len(kept) < most:
        (x1, y1, x2, y2, area, number), rest = rest[:, 0], rest[:, 1:]
        kept.append(int(number))
        across = np.minimum(rest[2], x2) - np.maximum(rest[0], x1)
        down = np.minimum(rest[3], y2) - np.maximum(rest[1], y1)
        shared = np.maximum(across, 0) * np.maximum(down, 0)
        union = rest[4] + area - shared
        overlap = np.divide(shared, union, out=np.zeros_like(union), where=union > 0)
        rest = rest[:, overlap <= most_overlap]
    return np.array(kept, np.intp)


def enlarged(boxes: Boxes, across: float, down: float) -> Boxes:
    """Return boxes with the same centres, `across` times as wide and `down` times as high, within 0 to 1."""
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2
    halves = (boxes[..., 2:] - boxes[..., :2]) / 2 * (across, down)
    return np.concatenate([centres - halves, centres + halves], axis=-1).clip(0, 1)


def enclosing(boxes: Boxes) -> Boxes:
    """Return the smallest box [4] around boxes [n, 4]."""
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
