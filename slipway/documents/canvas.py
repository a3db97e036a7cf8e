"""The canvas on which ECLAIR sees a page, 1280 x 1024 pixels, and the way back from its coordinates to the page.

A page is reduced to fit and lies in the middle of white paper; a margin is half the free pixels, rounded down.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from slipway.documents.fitting import fitted
from slipway.documents.pages import Page, checked_page
from slipway.errors import invalid

Box = tuple[int, int, int, int]  # x1, y1, x2, y2

HEIGHT: Final = 1280
WIDTH: Final = 1024
_WHITE: Final = 255


@dataclass(frozen=True, slots=True)
class Canvas:
    """A page on paper: `pixels` UINT8 [height, width, 3], and the margins left and above in pixels."""

    pixels: Page
    left: int
    above: int

    def to_page(self, box: Box) -> Box:
        """Return a box of the canvas in the page's own coordinates: margins removed, scaled so that the page is as
        large as the canvas, cut to whole pixels, and limited to the page.

        The right and lower margin are taken to be as wide as the left and upper one, so an odd number of free pixels
        shifts a box by at most one.
        """
        height, width = self.pixels.shape[:2]
        x1, x2 = (_without_margin(each, self.left, width) for each in box[::2])
        y1, y2 = (_without_margin(each, self.above, height) for each in box[1::2])
        return x1, y1, x2, y2

    def crop(self, box: tuple[float, float, float, float]) -> Page | None:
        """Return the pixels in a box of the canvas, whole pixels outwards, or None if none of them is on it."""
        height, width = self.pixels.shape[:2]
        x1, y1 = max(floor(box[0]), 0), max(floor(box[1]), 0)
        x2, y2 = min(ceil(box[2]), width), min(ceil(box[3]), height)
        return self.pixels[y1:y2, x1:x2] if x1 < x2 and y1 < y2 else None


def canvas_of(image: NDArray[Any]) -> Canvas:
    """Return the canvas for an image [H, W] or [H, W, 1 to 4] of any size."""
    return centred(fitted(checked_page(image), HEIGHT, WIDTH))


def centred(image: NDArray[Any], height: int = HEIGHT, width: int = WIDTH) -> Canvas:
    """Return an image in the middle of white paper; raise INVALID_ARG if it is larger."""
    page = checked_page(image)
    own_height, own_width = page.shape[:2]
    if own_height > height or own_width > width:
        raise invalid(
            f"Image array is too large: it has {own_height} x {own_width} pixels, and the canvas {height} x {width}"
        )
    above, left = (height - own_height) // 2, (width - own_width) // 2
    pixels = np.full((height, width, 3), _WHITE, np.uint8)
    pixels[above : above + own_height, left : left + own_width] = page
    return Canvas(pixels, left, above)


def canvas_batches(canvases: Sequence[Canvas], most: int) -> Iterator[Page]:
    """Yield the model's input `image` for the canvases, in order: UINT8 [n, 1280, 1024, 3], n at most `most`."""
    if most < 1:
        raise invalid(f"a batch of at most {most} pages: expected at least 1")
    for number, canvas in enumerate(canvases):
        if canvas.pixels.shape != (HEIGHT, WIDTH, 3):
            shape = list(canvas.pixels.shape)
            raise invalid(f"page {number}: its canvas has the shape {shape}, expected {[HEIGHT, WIDTH, 3]}")
    for start in range(0, len(canvases), most):
        yield np.stack([canvas.pixels for canvas in canvases[start : start + most]])


def _without_margin(value: int, margin: int, side: int) -> int:
    scaled = int((value - margin) / ((side - 2 * margin) / side))
    return min(max(scaled, 0), side)
