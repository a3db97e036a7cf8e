"""Reduces pages to a largest height and width, as Pillow's `Image.thumbnail` does: never enlarged, proportions kept."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor

import numpy as np

from slipway.documents.pages import Page
from slipway.documents.resampling import Filter, Planes, resize


def fitted_size(height: int, width: int, most_height: int, most_width: int) -> tuple[int, int]:
    """Return the (height, width) to which a page is reduced: one side is its limit, the other the whole number of
    pixels whose proportions are nearest to the page's."""
    if height <= most_height and width <= most_width:
        return height, width
    proportions = width / height
    if most_width / most_height >= proportions:
        return most_height, _nearest(most_height * proportions, lambda each: abs(proportions - each / most_height))
    return _nearest(most_width / proportions, lambda each: abs(proportions - most_width / each)), most_width


def _nearest(side: float, distance: Callable[[int], float]) -> int:
    """Return the whole number next to `side`, at least 1, with the smallest distance; the lower one of two equals."""
    return max(min((each for each in (floor(side), ceil(side)) if each), key=distance, default=1), 1)


def fitted(page: Page, most_height: int, most_width: int) -> Page:
    """Return a page reduced to at most that size, or itself if it fits."""
    size = fitted_size(page.shape[0], page.shape[1], most_height, most_width)
    if size == page.shape[:2]:
        return page
    return np.ascontiguousarray(fitted_planes(page, most_height, most_width).transpose(1, 2, 0), np.uint8)


def fitted_planes(page: Page, most_height: int, most_width: int) -> Planes:
    """Return the planes [3, height, width] of a page, reduced to at most that size."""
    size = fitted_size(page.shape[0], page.shape[1], most_height, most_width)
    if size == page.shape[:2]:
        return np.ascontiguousarray(page.transpose(2, 0, 1), np.float32)
    planes = np.empty((3, *size), np.float32)
    resize(page, planes, Filter.LANCZOS)
    return planes
