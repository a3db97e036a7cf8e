"""How the gate compares the objects that two detectors found in one picture: implements `candidates.subject.Matching`.

Some detectors choose their queries by score, so a rounding error changes the order of equally good ones. Outputs are
therefore matched before they are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from slipway.convert.arrays import Arrays
from slipway.convert.vision.families import SOFTMAX, DetectorFamily

LOGITS, BOXES = "logits", "pred_boxes"
_CONFIDENT: Final = 0.25  # objects of the reference with a lower score are not counted as its results
_OVERLAP: Final = 0.75  # of two boxes that count as the same: intersection over union


@dataclass(frozen=True, slots=True)
class ObjectMatching:
    """The matching of one detector."""

    detector: DetectorFamily

    def aligned(self, found: Arrays, expected: Arrays) -> Arrays:
        """Return the found queries in the order of the expected ones: each takes the nearest that is left, the most
        confident first. Queries that are learned keep their places."""
        if not self.detector.chooses or found[LOGITS].shape != expected[LOGITS].shape:
            return found
        order = _nearest(_signature(found), _signature(expected), np.argsort(-_scores(self.detector, expected)[0]))
        return {name: array[order] for name, array in found.items()}

    def kept(self, found: Arrays, expected: Arrays) -> np.ndarray:
        """Return for each confident object of the reference whether the aligned query has its label and its place."""
        scores, labels = _scores(self.detector, expected)
        sure = scores >= _CONFIDENT
        same = labels[sure] == _scores(self.detector, found)[1][sure]
        overlap = _overlaps(_corners(found[BOXES][sure]), _corners(expected[BOXES][sure]))
        return np.asarray(same & (overlap >= _OVERLAP))


def _signature(answers: Arrays) -> np.ndarray:
    """Return what identifies a query, FP64 [queries, numbers]: its box counts more than its logits."""
    return np.concatenate([answers[BOXES] * 10, answers[LOGITS]], axis=-1).astype(np.float64)


def _nearest(found: np.ndarray, expected: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Return the index of the found row for each expected one; each is used once."""
    squares = (found**2).sum(-1)[None] - 2 * expected @ found.T  # without a term that is the same for a whole row
    squares[~np.isfinite(squares)] = np.finfo(np.float64).max
    order = np.zeros(len(expected), np.int64)
    for row in turns:
        order[row] = squares[row].argmin()
        squares[:, order[row]] = np.inf
    return order


def _scores(detector: DetectorFamily, answers: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Return the score and the label of each query's best class."""
    logits = answers[LOGITS].astype(np.float64)
    if detector.scores == SOFTMAX:
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        shares = (powers / powers.sum(-1, keepdims=True))[:, :-1]
    else:
        shares = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
    return shares.max(-1), shares.argmax(-1)


def _corners(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=-1)


def _overlaps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the intersection over union of each pair of boxes, FP [boxes]."""
    inner = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    shared = np.clip(inner, 0, None).prod(-1)
    total = (one[:, 2:] - one[:, :2]).prod(-1) + (other[:, 2:] - other[:, :2]).prod(-1) - shared
    return np.asarray(shared / np.maximum(total, 1e-12))
