"""Made-up pages to compare, measure and calibrate a detector with: text, titles, tables and bar charts on paper.

Random pixels would not do: a detector finds nothing in them, so all candidates would agree. Drawn with numpy alone, in
pixels of the detector's input; the words are bars of ink.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from slipway.documents.letterbox import PADDING, SIDE

_PAPER: Final = 255
_MARGIN: Final = 40
_WIDTHS: Final = (791, 724, 1024)  # of letter and A4 pages in the input, and of a landscape slide
_LINE: Final = 14  # from one line of text to the next
_TABLE_ROW: Final = 22

Random = np.random.Generator
Ink = NDArray[np.uint8]  # [height, width, 3], drawn on


def sample_pages(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Return the input for that many different pages, FP32 [count, 3, 1024, 1024]; the same for the same seed."""
    random = np.random.default_rng(seed)
    return np.stack([_page(random) for _ in range(count)])


def _page(random: Random) -> NDArray[np.float32]:
    pixels = np.full((SIDE, SIDE, 3), PADDING, np.uint8)
    paper = pixels[:, : int(random.choice(_WIDTHS))]
    paper[:] = _PAPER
    top = _MARGIN
    while top < SIDE - 4 * _MARGIN:
        draw = _DRAWN[random.integers(len(_DRAWN))]
        height = int(random.integers(60, 320))
        bottom = min(top + height, SIDE - _MARGIN)
        draw(paper[top:bottom, _MARGIN:-_MARGIN], random)
        top = bottom + int(random.integers(12, 40))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32)


def _text(ink: Ink, random: Random) -> None:
    for line in range(0, len(ink) - _LINE, _LINE):
        left = 0
        while left < ink.shape[1] - 60:
            word = int(random.integers(12, 60))
            ink[line + 3 : line + 10, left : left + word : 2] = int(random.integers(0, 90))
            left += word + 6


def _title(ink: Ink, random: Random) -> None:
    height = min(int(random.integers(16, 30)), len(ink))
    width = int(ink.shape[1] * random.uniform(0.3, 0.9))
    ink[:height, :width:3] = 0
    ink[:height, 1:width:3] = 40


def _table(ink: Ink, random: Random) -> None:
    rows = range(0, len(ink), _TABLE_ROW)
    columns = [round(ink.shape[1] * each / (int(random.integers(3, 8)) or 1)) for each in range(3)]
    ink[list(rows)] = 60
    ink[:, [min(each, ink.shape[1] - 1) for each in (*columns, ink.shape[1] - 1)]] = 60
    for row in rows:
        for column in columns:
            ink[row + 7 : row + 15, column + 6 : column + int(random.integers(20, 80)) : 2] = 50


def _chart(ink: Ink, random: Random) -> None:
    bars = int(random.integers(3, 12))
    width = ink.shape[1] // (2 * bars)
    ink[-2:], ink[:, :2] = 0, 0
    for bar in range(bars):
        height = int(len(ink) * random.uniform(0.1, 0.9))
        ink[len(ink) - height :, (2 * bar + 1) * width : (2 * bar + 2) * width] = random.integers(0, 220, 3)


_DRAWN: Final = (_text, _title, _table, _chart)
