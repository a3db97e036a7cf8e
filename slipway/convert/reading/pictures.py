"""Made pages on which encoders of images are compared, calibrated and measured: text, rules, pictures, noise."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from slipway.convert.sample import sample_texts

COUNT: Final = 4
_LINES: Final = 24  # of a full page
_LEAST_SIZE: Final = 6  # of a font, in pixels


def made_pages(height: int, width: int) -> list[NDArray[np.uint8]]:
    """Return pages UINT8 [height, width, 3]: text alone, text with a picture, a picture alone, and noise."""
    random = np.random.default_rng(0)
    picture = _picture(height, width)
    half = np.where(np.arange(height)[:, None, None] < height // 2, _text(height, width, 8), picture)
    noise = random.integers(0, 256, (height, width, 3))
    return [page.astype(np.uint8) for page in (_text(height, width, 0), half, picture, noise)]


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


def _picture(height: int, width: int) -> NDArray[np.uint8]:
    """Return gradients with bright discs in front of them."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    across, down = columns / width, rows / height
    discs = [np.hypot(across - x, down - y) < radius for x, y, radius in ((0.3, 0.4, 0.15), (0.7, 0.6, 0.25))]
    channels = (across, down, (across + down) / 2)
    lit = [np.select(discs, [1 - channel, channel**2], channel) for channel in channels]
    return (np.stack(lit, axis=-1) * 255).astype(np.uint8)
