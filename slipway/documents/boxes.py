"""Boxes as arrays [n, 4] of x1, y1, x2, y2: area, overlap, suppression. Knows no classes and no page."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]
Scores = NDArray[np.float64]


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

    This is greedy non-maximum suppression over all classes. Of equal scores the earlier box is better. At most `most`
    boxes remain, which bounds the work to `most` passes over the boxes.
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(order) and len(kept) < most:
        best, order = order[0], order[1:]
        kept.append(int(best))
        order = order[overlaps(boxes[order], boxes[best]) <= most_overlap]
    return np.array(kept, np.intp)


def enlarged(boxes: Boxes, across: float, down: float) -> Boxes:
    """Return boxes with the same centres, `across` times as wide and `down` times as high, within 0 to 1."""
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2
    halves = (boxes[..., 2:] - boxes[..., :2]) / 2 * (across, down)
    return np.concatenate([centres - halves, centres + halves], axis=-1).clip(0, 1)


def enclosing(boxes: Boxes) -> Boxes:
    """Return the smallest box [4] around boxes [n, 4]."""
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
