"""Draws what was found on a page: boxes in colours over its pixels; labels, scores and captions beside it."""

from __future__ import annotations

from textwrap import wrap
from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw, ImageFont

COLOURS = {"table": (30, 90, 200), "chart": (20, 140, 60), "title": (210, 110, 0)}
TEXT = (150, 150, 150)
LONGEST_SIDE = 1400
BESIDE = 340  # pixels for the labels, which would hide the page's own text
LINE = 38  # characters of a label's line


class ShownText(Protocol):
    """A text with its box in parts of the page."""

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The box."""


class ShownPage(Protocol):
    """What is drawn."""

    @property
    def elements(self) -> dict[str, list[list[float]]]:
        """Rows by label."""

    @property
    def texts(self) -> tuple[ShownText, ...]:
        """Texts."""

    @property
    def captions(self) -> tuple[str, ...]:
        """The caption of each chart."""


def drawn_page(page: np.ndarray, found: ShownPage) -> Image.Image:
    """Return a page [height, width, 3] in a size for the screen, with everything found."""
    small = Image.fromarray(page)
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    image = Image.new("RGB", (small.width + BESIDE, small.height), "white")
    image.paste(small)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=16)

    def rectangle(box: tuple[float, ...], colour: tuple[int, int, int], width: int) -> float:
        x1, y1, x2, y2 = (each * side for each, side in zip(box, small.size * 2, strict=True))
        draw.rectangle((x1, y1, x2, y2), outline=colour, width=width)
        return y1

    for text in found.texts:
        rectangle(text.box, TEXT, 1)
    labels = []
    for label, rows in found.elements.items():
        for number, (*box, score) in enumerate(rows):
            words = f"{label} {score:.2f}"
            if label == "chart" and found.captions[number]:
                words += f": {found.captions[number]}"
            labels.append((rectangle(tuple(box), COLOURS[label], 4), label, words))
    free = 0.0
    for top, label, words in sorted(labels):
        lines = "\n".join(wrap(words, LINE))
        place = draw.multiline_textbbox((small.width + 8, max(top, free)), lines, font=font)
        draw.rectangle((place[0] - 4, place[1] - 4, place[2] + 4, place[3] + 4), fill=COLOURS[label])
        draw.multiline_text((small.width + 8, max(top, free)), lines, fill=(255, 255, 255), font=font)
        free = place[3] + 8
    return image
