"""Turns images into the input of a vision network: image UINT8 [rows, height, width, channels] (1 gray, 3 RGB, 4 RGBA)
or encoded_image BYTES [rows, 1] (a PNG, JPEG, WebP, GIF, TIFF or BMP file; of several frames the first) ->
pixel_values FP32 [rows, 3, h, w]; where the config declares them, pixel_mask INT64 [rows, h, w], 1 inside the image,
and original_size INT64 [rows, 2], the height and width of each upright image.

Written by `slipway convert`; runs in Slipway and in NVIDIA Triton (needs `pillow` and `numpy`). The steps are in
image.json, which is next to this file. A file is decoded as by `load_image` of transformers: turned upright by its
EXIF orientation, alpha dropped; only 16-bit gray keeps its upper byte instead of being cut off at 255. An array with
an alpha channel is laid on white, as by transformers for arrays. The images of one request are padded together, never
those of different requests.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

if TYPE_CHECKING:
    import triton_python_backend_utils as pb_utils

MOST_PIXELS = 64 << 20  # Pillow warns above 89 million
MOST_SIDE = 1 << 16
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP")  # none of which runs another program, as PostScript would
ORIENTATION = 0x0112  # the EXIF tag; below are the transpositions that undo each orientation
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow's decoders raise for files that are truncated or damaged.
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
BLOCK = 1 << 20  # pixels that are laid on white at once
MARGIN = 200  # of 255: a lighter pixel belongs to the margin of a page


class TritonPythonModel:
    """The image processor of one checkpoint."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read image.json, which is next to this file."""
        import triton_python_backend_utils as triton  # here, because converting runs the pipeline without a server

        self.triton = triton
        Image.init()  # all decoders now, not with the first request
        path = Path(args["model_repository"], args["model_version"], "image.json")
        self.pipeline = ImagePipeline(json.loads(path.read_text(encoding="utf-8")))
        self.names = [each["name"] for each in json.loads(args["model_config"])["output"]]

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Respond to each request separately, so that one bad image does not fail the others."""
        return [self.answer(request) for request in requests]

    def answer(self, request: pb_utils.InferenceRequest) -> pb_utils.InferenceResponse:
        """Process every row of one request."""
        try:
            arrays = self.pipeline.run(self.images(request), masked="pixel_mask" in self.names)
        except ValueError as error:
            refusal = self.triton.TritonError(str(error), self.triton.TritonError.INVALID_ARG)
            return self.triton.InferenceResponse(error=refusal)
        return self.triton.InferenceResponse([self.triton.Tensor(name, arrays[name]) for name in self.names])

    def images(self, request: pb_utils.InferenceRequest) -> list[Any]:
        """Return the rows of a request, arrays or files; raise ValueError unless it has exactly one of the inputs."""
        pixels, files = (self.triton.get_input_tensor_by_name(request, name) for name in ("image", "encoded_image"))
        if (pixels is None) == (files is None):
            found = "neither" if pixels is None else "both"
            raise ValueError(f"a request takes one of the inputs 'image' and 'encoded_image', but has {found}")
        return list(files.as_numpy().ravel()) if pixels is None else list(pixels.as_numpy())


class ImagePipeline:
    """The steps of one image processor, from image.json: geometry on 8-bit images, then one table of levels.

    Rescaling and normalising are functions of 256 levels per channel; the table holds their results as transformers
    rounds them.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.steps = [(STEPS[name], arguments) for name, arguments in settings["steps"]]
        self.levels = level_table(settings["levels"])
        self.channels = (2, 1, 0) if settings["flipped"] else (0, 1, 2)
        self.padding = settings["padding"]
        self.fixed = settings["height"], settings["width"]  # None: depends on the image

    def run(self, images: list[Any], masked: bool = True) -> dict[str, np.ndarray]:
        """Return the outputs, pixel_mask only if `masked`, for images given as UINT8 [height, width, channels] or as
        bytes of a file; raise ValueError, which begins with the row if there are several, if one cannot be processed.
        """
        sizes = np.zeros((len(images), 2), dtype=np.int64)
        rows: list[np.ndarray] = []
        total = 0
        try:
            for image in images:
                opened = decoded(image) if isinstance(image, bytes) else from_array(image)
                sizes[len(rows)] = opened.height, opened.width
                shaped = self.shaped(opened)
                total += shaped.height * shaped.width
                self.check_total(total)
                rows.append(np.asarray(shaped))
        except ValueError as error:
            raise ValueError(f"row {len(rows)}: {error}" if len(images) > 1 else str(error)) from error
        height, width = self.common_size([row.shape[:2] for row in rows])
        self.check_total(len(rows) * height * width)
        values = np.zeros((len(rows), 3, height, width), dtype=np.float32)
        mask = np.zeros((len(rows), height, width) if masked else (0, 0, 0), dtype=np.int64)
        for row, pixels in enumerate(rows):
            inside = slice(pixels.shape[0]), slice(pixels.shape[1])
            if masked:
                mask[row][inside] = 1
            for place, channel in enumerate(self.channels):
                plane = values[row, place]
                self.levels[channel].take(pixels[:, :, channel], out=plane[inside], mode="clip")
        outputs: dict[str, np.ndarray] = {"pixel_values": values, "original_size": sizes}
        return {**outputs, "pixel_mask": mask} if masked else outputs

    def shaped(self, image: Image.Image) -> Image.Image:
        """Return an RGB image after all steps."""
        for step, arguments in self.steps:
            image = step(image, **arguments)
        return image

    def check_total(self, pixels: int) -> None:
        """Raise ValueError if the results of one request become too large; those of a fixed size have no such limit."""
        if self.fixed[0] is None and pixels > MOST_PIXELS:
            raise ValueError(f"the images of one request have more than {MOST_PIXELS:,} pixels together")

    def common_size(self, sizes: list[tuple[int, ...]]) -> tuple[int, int]:
        """Return the height and width of all rows; raise ValueError if they differ without padding, or do not fit."""
        height, width = (max((size[axis] for size in sizes), default=self.fixed[axis] or 0) for axis in (0, 1))
        if self.padding is None:
            if any(size != (height, width) for size in sizes):
                raise ValueError("the images of one request must have the same size: this model does not pad them")
            return height, width
        if self.padding["height"] is None:
            return height, width
        fixed = self.padding["height"], self.padding["width"]
        if height > fixed[0] or width > fixed[1]:
            raise ValueError(f"an image of {height} x {width} pixels does not fit into {fixed[0]} x {fixed[1]}")
        return fixed


def check_size(height: int, width: int) -> None:
    """Raise ValueError if an image of that size is empty or too large."""
    if height < 1 or width < 1:
        raise ValueError(f"the image has {height} x {width} pixels, expected at least 1 x 1")
    if height * width > MOST_PIXELS or max(height, width) > MOST_SIDE:
        raise ValueError(
            f"the image has {height} x {width} pixels; the limits are {MOST_PIXELS:,} pixels and {MOST_SIDE:,} per side"
        )


def decoded(data: bytes) -> Image.Image:
    """Return the image in a file as RGB, upright; raise ValueError if it is not an image in a known format, is damaged,
    or has too many pixels, which is checked before any of them is decoded."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            check_size(image.height, image.width)
            rgb = as_rgb(image)
            turn = UPRIGHT.get(image.getexif().get(ORIENTATION, 1))  # after decoding, which turns TIFF files itself
            return rgb if turn is None else rgb.transpose(turn)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(f"the image has more than {MOST_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise ValueError(f"these {len(data)} bytes are not an image in a known format: {known}") from None
    except DAMAGED as error:
        raise ValueError(f"the image cannot be decoded: {error}") from None


def as_rgb(image: Image.Image) -> Image.Image:
    """Return an opened image as RGB, without its alpha; raise ValueError for pixels without an obvious RGB value."""
    if image.mode == "RGB":
        image.load()
        return image
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):  # older Pillow: "I"
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of Pillow's mode '{image.mode}' are not supported; save it as RGB")
    if image.mode == "P" and "transparency" in image.info:  # Pillow warns of the direct way
        image = image.convert("RGBA")
    return image.convert("RGB")


def from_array(pixels: np.ndarray) -> Image.Image:
    """Return UINT8 [height, width, channels] as an RGB image; raise ValueError if it is not an image."""
    check_size(*pixels.shape[:2])
    channels = pixels.shape[2]
    if channels not in (1, 3, 4):
        raise ValueError(f"the image has {channels} channels, expected 1 (gray), 3 (RGB) or 4 (RGBA)")
    if channels == 1:
        return Image.fromarray(pixels[:, :, 0]).convert("RGB")
    return Image.fromarray(np.ascontiguousarray(pixels) if channels == 3 else on_white(pixels))


def on_white(pixels: np.ndarray) -> np.ndarray:
    """Return the colours of UINT8 [height, width, 4] over white, rounded as transformers does."""
    height, width = pixels.shape[:2]
    result = np.empty((height, width, 3), dtype=np.uint8)
    step = max(1, BLOCK // width)
    for start in range(0, height, step):
        part = pixels[start : start + step]
        opacity = part[..., 3:] / 255
        result[start : start + step] = np.round(opacity * part[..., :3] + (1 - opacity) * 255)
    return result


def resize(image: Image.Image, height: int, width: int, resample: int, gap: float | None = None) -> Image.Image:
    """Return the image with exactly that size; raise ValueError if it would vanish or become too large."""
    if height < 1 or width < 1 or height * width > MOST_PIXELS:
        found = f"an image of {image.height} x {image.width} pixels is too narrow"
        raise ValueError(f"{found}: it would be resized to {height} x {width}")
    return image.resize((width, height), Image.Resampling(resample), reducing_gap=gap)


def resize_shortest(image: Image.Image, edge: int, resample: int) -> Image.Image:
    """Return the image in its proportions, its shorter side `edge` pixels long."""
    height, width = image.height, image.width
    if width <= height:
        return resize(image, int(edge * height / width), edge, resample)
    return resize(image, edge, int(edge * width / height), resample)


def resize_between(image: Image.Image, shortest: int, longest: int, multiple: int, resample: int) -> Image.Image:
    """Return the image in its proportions, its shorter side `shortest` pixels long, or less where the longer side would
    exceed `longest`; both sides are cut down to multiples of `multiple`."""
    height, width = image.height, image.width
    short, long = min(height, width), max(height, width)
    edge, exact = shortest, float(shortest)
    if long / short * shortest > longest:
        exact = longest * short / long
        edge = round(exact)
    if short == edge and (multiple == 1 or width >= height):
        new = height, width
    elif width < height:
        new = int(exact * height / width), edge
    else:
        new = edge, int(exact * width / height)
    return resize(image, new[0] - new[0] % multiple, new[1] - new[1] % multiple, resample)


def resize_within(image: Image.Image, height: int, width: int, resample: int) -> Image.Image:
    """Return the image in its proportions, as large as fits into that size."""
    scale = min(height / image.height, width / image.width)
    return resize(image, int(image.height * scale), int(image.width * scale), resample)


def thumbnail(image: Image.Image, height: int, width: int, resample: int, gap: float | None) -> Image.Image:
    """Return the image reduced to at most that size; a smaller one is left alone."""
    new_height, new_width = min(image.height, height), min(image.width, width)
    if (new_height, new_width) == (image.height, image.width):
        return image
    if image.height > image.width:
        new_width = int(image.width * new_height / image.height)
    elif image.width > image.height:
        new_height = int(image.height * new_width / image.width)
    return resize(image, new_height, new_width, resample, gap)


def crop_margin(image: Image.Image) -> Image.Image:
    """Return the part of a page that is not margin: light pixels in relation to its darkest and lightest."""
    gray = np.asarray(image.convert("L"))
    low, high = int(gray.min()), int(gray.max())
    if low == high:
        return image
    dark = (np.arange(256) - low) / (high - low) * 255 < MARGIN
    inked = dark[gray]
    rows, columns = (np.flatnonzero(inked.any(axis)) for axis in (1, 0))
    return image.crop((int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1))


def align_long_axis(image: Image.Image, height: int, width: int) -> Image.Image:
    """Return the image turned to the right if its longer side is not that of the given size."""
    turned = (width < height and image.width > image.height) or (width > height and image.width < image.height)
    return image.transpose(Image.Transpose.ROTATE_270) if turned else image


def crop_centre(image: Image.Image, height: int, width: int) -> Image.Image:
    """Return the middle of the image, with black where it is smaller."""
    top, left = (image.height - height) // 2, (image.width - width) // 2
    return image.crop((left, top, left + width, top + height))


def pad_centre(image: Image.Image, height: int, width: int) -> Image.Image:
    """Return the image in the middle of a black one; raise ValueError if it does not fit."""
    below, beside = height - image.height, width - image.width
    if below < 0 or beside < 0:
        raise ValueError(f"an image of {image.height} x {image.width} pixels does not fit into {height} x {width}")
    return image.crop((-(beside // 2), -(below // 2), width - beside // 2, height - below // 2))


STEPS: dict[str, Callable[..., Image.Image]] = {
    "crop_margin": crop_margin,
    "align_long_axis": align_long_axis,
    "resize": resize,
    "resize_shortest": resize_shortest,
    "resize_between": resize_between,
    "resize_within": resize_within,
    "thumbnail": thumbnail,
    "crop_centre": crop_centre,
    "pad_centre": pad_centre,
}


def level_table(changes: list[tuple[str, dict[str, Any]]]) -> np.ndarray:
    """Return the network's value of each of 256 levels, FP32 [3, 256], rounded after each change as by transformers."""
    levels: np.ndarray = np.tile(np.arange(256, dtype=np.float32), (3, 1))
    for name, arguments in changes:
        levels = LEVELS[name](levels, **arguments)
    return levels


def rescale(levels: np.ndarray, factor: float) -> np.ndarray:
    """Return the levels times a factor."""
    return (levels.astype(np.float64) * factor).astype(np.float32)


def shift(levels: np.ndarray, by: float) -> np.ndarray:
    """Return the levels plus a constant."""
    return levels + np.float32(by)


def normalise(levels: np.ndarray, mean: list[float], std: list[float]) -> np.ndarray:
    """Return (level - mean) / std of each channel."""
    means, deviations = (np.array(each, dtype=np.float32)[:, None] for each in (mean, std))
    normal: np.ndarray = (levels - means) / deviations
    return normal


LEVELS: dict[str, Callable[..., np.ndarray]] = {"rescale": rescale, "shift": shift, "normalise": normalise}
