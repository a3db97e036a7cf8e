"""What a page costs around a YOLOX page-element model: a page at 300 dpi to its input, and its output to elements.

The references are the straightforward ways: Pillow's reduction and resizing, and a loop over the rows in Python. The
output has the shape of a real one: a dozen elements, each found by a few dozen rows. Figures are processor time, of all
threads together, in the fastest turn: on an idle machine, nothing takes longer than that. Sides alternate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Row
from slipway.documents.detection import page_elements
from slipway.documents.letterbox import PADDING, SIDE, input_scale, page_batch

TURNS: Final = 15
ROWS: Final = 21_504
PAGE: Final = (3300, 2550)  # letter at 300 dpi
_ELEMENTS: Final = 12
_ROWS_OF_ELEMENT: Final = 30
_MS: Final = 1e3


def documents(turns: int = TURNS, rows: int = ROWS, page: tuple[int, int] = PAGE) -> list[Row]:
    """Measure both directions, the time against its target and the speed against the straightforward way."""
    image, output, size = _page(*page), _output(rows), (SIDE, SIDE)
    before = _fastest({"slipway": lambda: page_batch([image]), "plain": lambda: pillow_input(image)}, turns)
    after = _fastest(
        {"slipway": lambda: page_elements(output, [size]), "plain": lambda: plain_suppression(output[0])}, turns
    )
    full = _separate(rows)
    worst = _fastest({"slipway": lambda: page_elements(full, [size])}, min(turns, 3))
    return [
        Row(f"page of {page[0]} x {page[1]} to input", before["slipway"] * _MS, "ms", at_most=60.0),
        Row("the same, and Pillow with numpy", 1 / before["slipway"], "/s", 1 / before["plain"]),
        Row(f"output of {rows:,} rows to elements", after["slipway"] * _MS, "ms", at_most=5.0),
        Row("the same, and a loop in Python", 1 / after["slipway"], "/s", 1 / after["plain"], at_least=5.0),
        Row("output whose every row is a likely title", worst["slipway"] * _MS, "ms"),
    ]


def pillow_input(page: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the input for a page, made with Pillow."""
    from PIL import Image

    image = Image.fromarray(page)
    image.thumbnail((1536, 1536), Image.Resampling.LANCZOS)
    scale = input_scale(image.height, image.width)
    small = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.BILINEAR)
    canvas = np.full((SIDE, SIDE, 3), PADDING, np.uint8)
    canvas[: small.height, : small.width] = np.asarray(small)
    return np.ascontiguousarray(canvas.transpose(2, 0, 1), np.float32)[None]


def plain_suppression(rows: NDArray[np.float32]) -> list[tuple[list[float], float]]:
    """Return the boxes and scores of the rows of a page that are certain enough and that no better one suppresses."""
    likely = []
    for x, y, wide, high, thing, *classes in rows.tolist():
        score = thing * max(classes)
        if score >= 0.48:
            likely.append(([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2], score))
    likely.sort(key=lambda each: -each[1])
    kept: list[tuple[list[float], float]] = []
    for box, score in likely:
        if all(_overlap(box, better) <= 0.5 for better, _ in kept):
            kept.append((box, score))
    return kept


def _overlap(one: list[float], other: list[float]) -> float:
    wide = max(min(one[2], other[2]) - max(one[0], other[0]), 0.0)
    high = max(min(one[3], other[3]) - max(one[1], other[1]), 0.0)
    total = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - wide * high
    return wide * high / total if total else 0.0


def _page(height: int, width: int) -> NDArray[np.uint8]:
    """Return a white page with dark lines of words."""
    source = np.random.default_rng(0)
    page = np.full((height, width, 3), 255, np.uint8)
    for top in range(height // 20, height, 50):
        page[top : top + 30] = np.repeat(source.integers(0, 2, (1, -(-width // 8), 1)) * 255, 8, axis=1)[:, :width]
    return page


def _output(rows: int) -> NDArray[np.float32]:
    source = np.random.default_rng(1)
    output = source.uniform(0, 0.3, (1, rows, 8))
    output[0, :, :4] = source.uniform(10, 1000, (rows, 4))
    for number in range(_ELEMENTS):
        found = source.integers(0, rows, _ROWS_OF_ELEMENT)
        box = (*source.uniform(200, 800, 2), *source.uniform(50, 300, 2))
        output[0, found, :4] = box + source.normal(0, 3, (_ROWS_OF_ELEMENT, 4))
        output[0, found, 4] = source.uniform(0.8, 1, _ROWS_OF_ELEMENT)
        output[0, found, 5 + number % 3] = source.uniform(0.8, 1, _ROWS_OF_ELEMENT)
    return output.astype(np.float32)


def _separate(rows: int) -> NDArray[np.float32]:
    """Return an output whose every row is a likely title, most of them apart from the others."""
    source = np.random.default_rng(2)
    output = np.ones((1, rows, 8))
    output[0, :, :2] = source.uniform(0, SIDE, (rows, 2))
    output[0, :, 2:4] = source.uniform(1, 16, (rows, 2))
    output[0, :, 4] = source.uniform(0.5, 1, rows)
    output[0, :, 5:7] = 0
    return output.astype(np.float32)


def _fastest(sides: Mapping[str, Callable[[], Any]], turns: int) -> dict[str, float]:
    """Return the processor seconds of each side's fastest turn, after one that does not count."""
    seconds = dict.fromkeys(sides, np.inf)
    for turn in range(turns + 1):
        for name, side in sides.items():
            started = time.process_time()
            side()
            taken = time.process_time() - started
            seconds[name] = min(seconds[name], taken) if turn else np.inf
    return seconds
