"""What the gate of a detector adds to the cosines of its rows: probabilities and boxes, each compared as what they are.

In the output, boxes are numbers up to 1024 and probabilities at most 1. A candidate whose probabilities are all wrong
would have the right direction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from slipway.convert.arrays import Run
from slipway.convert.candidates.gate import Expectation
from slipway.convert.page_elements.contract import PageDetector
from slipway.documents.boxes import areas
from slipway.documents.detection import decoded_grid


@dataclass(frozen=True, slots=True)
class ElementLimits:
    """How far the probability of an element may be from the reference's, and how much the boxes of likely elements have
    to overlap with the reference's, the worst of them and all on average."""

    probability: float
    worst_overlap: float
    mean_overlap: float


EXACT: Final = ElementLimits(probability=1e-3, worst_overlap=0.99, mean_overlap=0.999)
REDUCED: Final = ElementLimits(probability=0.1, worst_overlap=0.7, mean_overlap=0.95)
_LIKELY: Final = 0.25  # probability above which a row's box matters


def element_problems(
    run: Run, expected: Sequence[Expectation], precision: str, detector: PageDetector
) -> Iterator[str]:
    """Yield by how much a candidate exceeds the limits of its precision."""
    limits = EXACT if precision == "fp32" else REDUCED
    worst, overlaps = 0.0, [np.ones(1)]
    for each in expected:
        found = _pages(run(each.case.batch)[detector.returns], detector)
        right = _pages(np.stack([row[detector.returns] for row in each.rows]), detector)
        difference = np.abs(_probabilities(found) - _probabilities(right)).max()
        worst = float(np.maximum(worst, difference))  # NaN stays
        likely = _probabilities(right).max(-1) >= _LIKELY
        overlaps.append(_overlaps(found[likely], right[likely]))
    if not worst <= limits.probability:
        yield f"the probability of an element differs by {worst:.3g} (allowed: {limits.probability:g})"
    measured = np.concatenate(overlaps)
    if not measured.min() >= limits.worst_overlap or not measured.mean() >= limits.mean_overlap:
        yield (
            f"its boxes overlap with the reference's by {measured.mean():.3f} on average and {measured.min():.3f} at "
            f"least (required: {limits.mean_overlap:g} and {limits.worst_overlap:g})"
        )


def _pages(output: np.ndarray, detector: PageDetector) -> np.ndarray:
    output = output.reshape(-1, *output.shape[-2:])
    return output.astype(np.float32) if detector.decoded else decoded_grid(output)


def _probabilities(output: np.ndarray) -> np.ndarray:
    return np.asarray(output[..., 4:5] * output[..., 5:])


def _overlaps(found: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the intersection over union of each row's box [n, 4+] with the same row's of the reference."""
    one, other = _corners(found), _corners(right)
    first, last = np.maximum(one[:, :2], other[:, :2]), np.minimum(one[:, 2:], other[:, 2:])
    shared = areas(np.concatenate([first, last], axis=1))
    union = areas(one) + areas(other) - shared
    return np.divide(shared, union, out=np.ones_like(union), where=union > 0)


def _corners(rows: np.ndarray) -> np.ndarray:
    rows = rows[:, :4].astype(np.float64)
    halves = rows[:, 2:] / 2
    return np.concatenate([rows[:, :2] - halves, rows[:, :2] + halves], axis=1)
