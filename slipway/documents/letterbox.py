"""Pages to the input of a YOLOX page-element model: FP32 [batch, 3, 1024, 1024], values from 0 to 255, not divided.

A page is reduced to at most 1536 pixels per side, scaled by min(1024 / height, 1024 / width), and padded at the bottom
and the right with 114. Batches have 8, 4, 2 or 1 pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from slipway.documents.fitting import fitted_planes
from slipway.documents.pages import checked_page
from slipway.documents.resampling import Filter, resize, resize_planes
from slipway.errors import invalid

SIDE: Final = 1024
PADDING: Final = 114
MOST_PAGE_SIDE: Final = 1536  # above, a page is reduced first: linear sampling would skip pixels
MOST_PAGES: Final = 8  # of a batch


@dataclass(frozen=True, slots=True)
class PageBatch:
    """The input for some pages: `pixels` FP32 [batch, 3, 1024, 1024], and the (height, width) that each page had
    before it was scaled to the model's input."""

    pixels: NDArray[np.float32]
    sizes: tuple[tuple[int, int], ...]


def input_scale(height: int, width: int) -> float:
    """Return the factor from the page's pixels to the model's."""
    return min(SIDE / height, SIDE / width)


def scaled_size(height: int, width: int) -> tuple[int, int]:
    """Return the (height, width) of the page in the model's input, at least 1 x 1."""
    scale = input_scale(height, width)
    return max(int(height * scale), 1), max(int(width * scale), 1)


def letterbox(page: NDArray[Any]) -> NDArray[np.float32]:
    """Return an image [H, W] or [H, W, 1 to 4] as [3, 1024, 1024], without reducing it first."""
    page = checked_page(page)
    out = np.empty((3, SIDE, SIDE), np.float32)
    resize(page, _inside(out, *page.shape[:2]), Filter.LINEAR)
    return out


def page_batch(pages: Sequence[NDArray[Any]]) -> PageBatch:
    """Return the input for 1 to 8 pages, each reduced first if a side is longer than 1536 pixels."""
    if not 1 <= len(pages) <= MOST_PAGES:
        raise invalid(f"a batch of {len(pages)} pages: expected 1 to {MOST_PAGES}")
    checked = [checked_page(page) for page in pages]
    pixels = np.empty((len(checked), 3, SIDE, SIDE), np.float32)
    sizes = []
    for page, out in zip(checked, pixels, strict=True):
        planes = fitted_planes(page, MOST_PAGE_SIDE, MOST_PAGE_SIDE)
        height, width = planes.shape[1:]
        sizes.append((height, width))
        resize_planes(planes, _inside(out, height, width), Filter.LINEAR)
    return PageBatch(pixels, tuple(sizes))


def page_batches(pages: Sequence[NDArray[Any]]) -> Iterator[PageBatch]:
    """Yield the inputs for any number of pages, in order, in batches whose sizes are powers of two."""
    start = 0
    while start < len(pages):
        count = min(1 << (len(pages) - start).bit_length() - 1, MOST_PAGES)
        yield page_batch(pages[start : start + count])
        start += count


def _inside(out: NDArray[np.float32], page_height: int, page_width: int) -> NDArray[np.float32]:
    """Write the padding to the input `out`, and return the part of it that a page of that size fills."""
    height, width = scaled_size(page_height, page_width)
    out[:, :height, width:] = PADDING
    out[:, height:] = PADDING
    return out[:, :height, :width]
