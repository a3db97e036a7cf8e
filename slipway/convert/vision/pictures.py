"""Pictures to compare and calibrate with: made up, or those in a directory of the user.

Made-up pictures have what photographs have and random pixels lack: areas, edges, texture on several scales, writing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from slipway.errors import invalid

Picture = np.ndarray  # UINT8 [height, width, 3]

_ENDINGS: Final = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_MOST: Final = 300  # pictures of a user's directory; more only take time
_MOST_PIXELS: Final = _MOST * 640 * 640  # of all rows made from them, which are kept together: 1.5 GB in FP32
_FEWEST: Final = 8
_WORDS: Final = ("invoice", "STOP", "41 %", "total 1,300", "open", "Café")


def make_picture(seed: int, height: int, width: int) -> Picture:
    """Return a picture, the same for the same arguments: a gradient, shapes, writing and texture."""
    from PIL import Image, ImageDraw

    random = np.random.default_rng(seed)
    pixels = _gradient(random, height, width)
    if seed % 3:
        pixels += _texture(random, height, width) * random.uniform(10, 70)
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(int(random.integers(1, 8))):
        _shape(draw, random, height, width)
    if seed % 2:
        place = (int(random.integers(0, max(1, width // 2))), int(random.integers(0, max(1, height // 2))))
        draw.text(place, str(random.choice(_WORDS)), fill=_colour(random), font_size=max(8, height // 8))
    return np.asarray(image)


def _gradient(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return values FP64 [height, width, 3] that change evenly from one corner to the others."""
    down, across = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[None, :, None]
    begin, downwards, sideways = random.uniform(0, 255, (3, 3))
    return np.asarray(begin + (downwards - begin) * down / 2 + (sideways - begin) * across / 2)


def _texture(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return values FP64 [height, width, 1] of noise on several scales, coarse noise being the strongest."""
    total = np.zeros((height, width))
    for cells in (4, 16, 64):
        coarse = random.standard_normal((cells, cells))
        rows, columns = np.arange(height) * cells // height, np.arange(width) * cells // width
        total += coarse[rows[:, None], columns[None, :]] * 4 / cells**0.5
    return total[:, :, None] / 3


def _shape(draw: Any, random: np.random.Generator, height: int, width: int) -> None:
    left, top = float(random.uniform(-0.2, 0.9) * width), float(random.uniform(-0.2, 0.9) * height)
    right, bottom = left + 1 + float(random.uniform(0, 0.6) * width), top + 1 + float(random.uniform(0, 0.6) * height)
    kind = int(random.integers(0, 3))
    if kind == 0:
        draw.rectangle((left, top, right, bottom), fill=_colour(random))
    elif kind == 1:
        draw.ellipse((left, top, right, bottom), fill=_colour(random), outline=_colour(random), width=3)
    else:
        draw.polygon(((left, bottom), ((left + right) / 2, top), (right, bottom)), fill=_colour(random))


def _colour(random: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = (int(each) for each in random.integers(0, 256, 3))
    return red, green, blue


def read_pictures(directory: Path, pixels: int) -> Iterator[Picture]:
    """Return the pictures in a directory, in the order of their names, at most 300 and fewer if a network's input of
    more than 640 x 640 `pixels` is made from each. Raise `SlipwayError` if there are none, or while iterating if one
    cannot be read."""
    if not directory.is_dir():
        raise invalid(f"calibration takes a directory of pictures here, and '{directory}' is not a directory")
    files = sorted(path for path in directory.iterdir() if path.suffix.lower() in _ENDINGS)
    if not files:
        raise invalid(f"calibration directory '{directory}' has no pictures ({', '.join(_ENDINGS)})")
    return _read(files[: min(_MOST, max(_FEWEST, _MOST_PIXELS // pixels))])


def _read(files: Sequence[Path]) -> Iterator[Picture]:
    from PIL import Image, ImageOps, UnidentifiedImageError

    for file in files:
        try:
            with Image.open(file) as image:
                yield np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
            raise invalid(f"calibration picture '{file}' cannot be read: {error}") from error
