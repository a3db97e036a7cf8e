"""Draws what was found on a page over its pixels: boxes in colours, captions beside their charts."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw, ImageFont

COLOURS = {"table": (30, 90, 200), "chart": (20, 140, 60), "title": (210, 110, 0)}
TEXT = (150, 150, 150)
LONGEST_SIDE = 1400


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
    image = Image.fromarray(page)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=16)

    def rectangle(box: tuple[float, ...], colour: tuple[int, int, int], width: int) -> tuple[float, float]:
        x1, y1, x2, y2 = (each * side for each, side in zip(box, image.size * 2, strict=True))
        draw.rectangle((x1, y1, x2, y2), outline=colour, width=width)
        return x1, y1

    for text in found.texts:
        rectangle(text.box, TEXT, 1)
    for label, rows in found.elements.items():
        for number, (*box, score) in enumerate(rows):
            x, y = rectangle(tuple(box), COLOURS[label], 4)
            words = f"{label} {score:.2f}"
            if label == "chart" and found.captions[number]:
                words += f": {found.captions[number]}"
            at = (box[2] * image.width + 5, y) if label == "title" else (x, y - 22)
            place = draw.textbbox(at, words, font=font)
            draw.rectangle((place[0] - 2, place[1] - 2, place[2] + 2, place[3] + 2), fill=COLOURS[label])
            draw.text(at, words, fill=(255, 255, 255), font=font)
    return image
