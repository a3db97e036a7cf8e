"""Pages as arrays: checks them, and decodes image files. Knows no model.

A page is a UINT8 array [height, width, 3] of RGB values. Files are decoded by Pillow, which is imported by `open_page`.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from slipway.errors import invalid, shown, unsupported
from slipway.installation import install_hint

if TYPE_CHECKING:
    from PIL.Image import Image

Page = NDArray[np.uint8]

MOST_PIXELS: Final = 64 << 20  # A2 at 300 dpi has 35 million; Pillow warns above 89 million
MOST_SIDE: Final = 1 << 16  # a JPEG file has at most 65 535 pixels per side
FORMATS: Final = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")  # none of which runs another program, as PostScript would
# What Pillow's decoders raise for files that are truncated or damaged.
_DAMAGED: Final = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    zlib.error,
)
_BLENDED: Final = 1 << 18  # pixels that are laid on paper at a time
_WITH_ALPHA: Final = frozenset({"RGBA", "LA", "PA", "La", "RGBa"})
_CONVERTED: Final = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"})


def checked_page(array: NDArray[Any]) -> Page:
    """Return an image as a page [height, width, 3]; raise INVALID_ARG if it is not one.

    Takes UINT8 [height, width] and [height, width, 1] (gray), 2 (gray and alpha), 3 (RGB) or 4 channels (RGBA).
    Transparency shows white paper.
    """
    if array.dtype != np.uint8:
        raise invalid(f"image: its type is {array.dtype}, expected uint8")
    if array.ndim not in {2, 3} or (array.ndim == 3 and array.shape[2] not in {1, 2, 3, 4}):
        raise invalid(f"image: its shape is {list(array.shape)}, expected [height, width] or [height, width, 1 to 4]")
    check_size(array.shape[0], array.shape[1])
    channels = array if array.ndim == 3 else array[:, :, None]
    if channels.shape[2] in {2, 4}:
        channels = _on_white(channels)
    if channels.shape[2] == 1:
        channels = np.broadcast_to(channels, (*channels.shape[:2], 3))
    return np.ascontiguousarray(channels)


def check_size(height: int, width: int) -> None:
    """Raise INVALID_ARG if an image of that size is empty or too large."""
    if height < 1 or width < 1:
        raise invalid(f"image: it has {height} x {width} pixels, expected at least 1 x 1")
    if height * width > MOST_PIXELS or max(height, width) > MOST_SIDE:
        raise invalid(
            f"image: it has {height} x {width} pixels; the limits are {MOST_PIXELS:,} pixels and {MOST_SIDE:,} per side"
        )


def open_page(data: bytes) -> Page:
    """Return the page in an image file (PNG, JPEG, WebP, TIFF or BMP; of several frames the first), turned upright by
    its EXIF orientation.

    Raises INVALID_ARG for anything that cannot be decoded or has too many pixels, UNSUPPORTED for a pixel format
    without an obvious RGB value (32-bit integers, floating point), or if Pillow is not installed. The size is checked
    before any pixel is decoded.
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        raise unsupported(f"image: decoding image files needs Pillow: {install_hint('documents')}") from None
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            check_size(image.height, image.width)
            ImageOps.exif_transpose(image, in_place=True)  # without a copy of what is upright already
            return checked_page(_pixels(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise invalid(f"image: it has more than {MOST_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        raise invalid(
            f"image: these {len(data)} bytes are not an image in a known format: {', '.join(FORMATS)}"
        ) from None
    except _DAMAGED as error:
        raise invalid(f"image: it cannot be decoded: {shown(error)}") from None


def _pixels(image: Image) -> NDArray[np.uint8]:
    """Return the pixels of an opened image as an array of gray, gray and alpha, RGB or RGBA."""
    if image.mode.startswith("I;16"):  # 16-bit gray: the upper byte, where Pillow would cut off at 255
        return (np.asarray(image) >> 8).astype(np.uint8)
    if image.mode == "LA" or (image.mode == "L" and "transparency" not in image.info):
        return np.asarray(image)  # Pillow would spend four bytes per pixel on a conversion
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        return np.asarray(image.convert("RGBA"))
    if image.mode not in _CONVERTED:
        raise unsupported(f"image: pixels of Pillow's mode '{image.mode}' are not supported; save it as RGB")
    return np.asarray(image.convert("RGB"))


def _on_white(channels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return colours over white paper; the last channel is the opacity.

    Some rows at a time: the products take several times the memory of the image.
    """
    seen = np.empty((*channels.shape[:2], channels.shape[2] - 1), np.uint8)
    step = max(_BLENDED // channels.shape[1], 1)
    for start in range(0, len(channels), step):
        rows = channels[start : start + step].astype(np.uint16)
        colours, alpha = rows[:, :, :-1], rows[:, :, -1:]
        seen[start : start + step] = (colours * alpha + 255 * (255 - alpha) + 127) // 255
    return seen
