"""Images for the tests of image processors, made from numbers."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

SIZES = {
    "landscape": (96, 161),
    "portrait": (211, 120),
    "square": (64, 64),
    "large": (700, 510),
    "long": (40, 600),
    "high": (433, 17),
    "tiny": (5, 4),
    "one row": (1, 50),
    "one column": (50, 1),
    "one pixel": (1, 1),
}


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return a gradient with noise and a dark bar within a light margin, UINT8 [height, width, 3]."""
    generator = np.random.default_rng([height, width, seed])
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([200 * rows / height, 220 * columns / width, 90 + 60 * rows / height], axis=-1)
    pixels += generator.normal(0, 20, pixels.shape)
    pixels[height // 3 : height // 2, width // 4 :] = (20, 30, 60)
    pixels[: height // 9] = pixels[:, : width // 7] = 245
    return pixels.clip(0, 255).astype(np.uint8)


PICTURES: dict[str, np.ndarray] = {
    **{name: picture(*size) for name, size in SIZES.items()},
    "white": np.full((30, 50, 3), 255, np.uint8),
    "black with one light pixel": np.where(np.arange(900).reshape(30, 30, 1) == 400, 255, 0)
    .astype(np.uint8)
    .repeat(3, 2),
}


def file_of(image: np.ndarray | Image.Image, kind: str = "PNG", **settings: Any) -> bytes:
    """Return an image file."""
    written = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(written, kind, **settings)
    return written.getvalue()
