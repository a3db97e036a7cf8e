"""Which texts of a page may be the caption of an image, and which of them the classifier chose. Knows no model.

Each image has five candidates, the text blocks whose centres are nearest to its own, and a request carries the
candidates of at most 25 images: 125 rows, within the model's 128.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from slipway.errors import invalid

PageBox = tuple[float, float, float, float]  # x1, y1, x2, y2

CANDIDATES: Final = 5  # of an image
MOST_ROWS: Final = 128  # of a request
IMAGES: Final = MOST_ROWS // CANDIDATES  # of a request
ABOVE: Final = 0.5  # the probability that a caption has to exceed


@dataclass(frozen=True, slots=True)
class CaptionBlock:
    """A block of text and its box on the page."""

    text: str
    box: PageBox


def candidates(image: PageBox, blocks: Sequence[CaptionBlock]) -> tuple[str, ...]:
    """Return the five texts that are nearest to an image, the nearest first, made up with "" if the page has fewer.

    The distance is that of the centres; of equal distances the earlier block comes first. Raises INVALID_ARG for boxes
    that are not finite.
    """
    boxes = np.array([image, *(block.box for block in blocks)], np.float64)
    if not np.isfinite(boxes).all():
        raise invalid("caption candidates: the boxes of the image and the texts have to be finite numbers")
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    distances = np.hypot(*(centres[1:] - centres[0]).T)
    nearest = np.argsort(distances, kind="stable")[:CANDIDATES]
    texts = [cleaned(blocks[number].text) for number in nearest]
    return (*texts, *[""] * (CANDIDATES - len(texts)))


def cleaned(text: str) -> str:
    """Return a text as the classifier was trained on it: every character outside ASCII is a question mark."""
    return text.encode("ascii", "replace").decode("ascii")


def request_rows(images: Sequence[Sequence[str]]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of each request for the candidates of any number of images: up to 25 times 5 texts, in order."""
    for number, each in enumerate(images):
        if len(each) != CANDIDATES:
            raise invalid(f"image {number} has {len(each)} caption candidates, expected {CANDIDATES}")
    for start in range(0, len(images), IMAGES):
        yield tuple(text for each in images[start : start + IMAGES] for text in each)


def captions(rows: Sequence[str], probabilities: NDArray[Any]) -> tuple[str, ...]:
    """Return the caption of each image of a request: its most probable candidate if above 0.5, else "".

    `probabilities` is the model's output [n, 1] or [n]. Of equal ones the first is chosen. Raises INVALID_ARG if the
    output does not fit the rows, or is not finite.
    """
    if len(rows) % CANDIDATES or probabilities.shape not in {(len(rows),), (len(rows), 1)}:
        raise invalid(
            f"caption output: its shape is {list(probabilities.shape)} for {len(rows)} rows, "
            f"expected [rows, 1] or [rows] for a multiple of {CANDIDATES} rows"
        )
    if not np.isfinite(probabilities).all():
        raise invalid("caption output: it contains numbers that are not finite")
    table = probabilities.reshape(-1, CANDIDATES)
    chosen = table.argmax(axis=1)
    return tuple(
        rows[number * CANDIDATES + best] if table[number, best] > ABOVE else "" for number, best in enumerate(chosen)
    )
