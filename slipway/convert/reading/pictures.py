"""Made pages on which encoders of images are compared, calibrated and measured: text, rules, pictures, noise."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from slipway.convert.sample import sample_texts
from slipway.convert.vision.pictures import make_picture

_LINES: Final = 24  # of a full page
_APART: Final = 8  # sample texts between the first lines of two pages
_LEAST_SIZE: Final = 6  # of a font, in pixels


def made_pages(height: int, width: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Return pages UINT8 [height, width, 3], others for each seed: text, text with a picture, and noise."""
    random = np.random.default_rng(seed)
    first = 2 * _APART * seed
    picture = make_picture(1 + 2 * seed, height, width)  # odd ones have writing
    half = np.where(np.arange(height)[:, None, None] < height // 2, _text(height, width, first + _APART), picture)
    noise = random.integers(0, 256, (height, width, 3))
    return [page.astype(np.uint8) for page in (_text(height, width, first), half, noise)]


def _text(height: int, width: int, first: int) -> NDArray[np.uint8]:
    """Return a white page with lines of text, from the sample's line `first` on."""
    from PIL import Image, ImageDraw, ImageFont

    page = Image.new("RGB", (width, height), "white")
    pen, step = ImageDraw.Draw(page), max(_LEAST_SIZE, height // _LINES)
    font = ImageFont.load_default(max(_LEAST_SIZE, step * 2 // 3))
    texts = sample_texts()
    for line, top in enumerate(range(step // 2, height - step, step)):
        pen.text((width // 16, top), texts[(first + line) % len(texts)], fill=(20, 20, 40), font=font)
    pen.rectangle((width // 32, step // 4, width - width // 32, height - step // 4), outline=(120, 120, 120))
    return np.asarray(page)
