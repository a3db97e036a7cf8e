"""The written image processor held against transformers' own, on a few images that are made here."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from slipway.convert.libraries import cause_of
from slipway.convert.vision.image_settings import ImageSettings
from slipway.errors import SlipwayError, invalid

_ALLOWED: Final = 1e-6
_SIZES: Final = {"landscape": (97, 160), "portrait": (211, 120), "square": (64, 64), "tiny": (5, 4)}
_GRAY_FILE: Final = "gray file"
_ALPHA_FILE: Final = "file with alpha"


def open_reference_processor(directory: Path) -> Any:
    """Return the image processor on Pillow that transformers opens; raise `SlipwayError` if it cannot."""
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(directory, local_files_only=True, backend="pil")
    except Exception as error:  # transformers raises types without a common root
        raise invalid(f"cannot open the image processor of '{directory}': {cause_of(error)}") from error


def check_images() -> dict[str, NDArray[np.uint8] | bytes]:
    """Return small images, arrays [height, width, 3] and PNG files, with edges, gradients, noise and a light margin."""
    images: dict[str, NDArray[np.uint8] | bytes] = {
        name: _drawn(height, width, seed) for seed, (name, (height, width)) in enumerate(_SIZES.items())
    }
    alpha = np.dstack([_drawn(70, 90, 4), _drawn(70, 90, 5)[:, :, 0]])
    return {**images, _GRAY_FILE: _png(_drawn(60, 80, 6)[:, :, 0]), _ALPHA_FILE: _png(alpha)}


def check_processor(settings: ImageSettings, reference: Any) -> None:
    """Raise INVALID_ARG naming the image and the largest difference unless the written processor and `reference`, an
    image processor of transformers, give the same values, within 1e-6.

    An image that the reference refuses, such as one that is too narrow, has to be refused by both; at least one has to
    be accepted.
    """
    from slipway.convert.models.image_processor import ImagePipeline

    pipeline = ImagePipeline(settings.to_pipeline())
    accepted = 0
    for name, image in check_images().items():
        expected = _expected(reference, image)
        try:
            found = pipeline.run([image])
        except ValueError as error:
            if expected is None:
                continue
            raise _differs(name, f"it is refused: {error}") from error
        if expected is None:
            raise _differs(name, "transformers refuses it")
        _compare(name, found, expected)
        accepted += 1
    if not accepted:
        raise invalid(f"the image processor refuses every test image; its steps are {[s.name for s in settings.steps]}")


def _expected(reference: Any, image: NDArray[np.uint8] | bytes) -> Mapping[str, NDArray[Any]] | None:
    """Return the reference's result for one image, None if it refuses the image."""
    from PIL import Image

    opened = Image.open(io.BytesIO(image)).convert("RGB") if isinstance(image, bytes) else Image.fromarray(image)
    try:
        return dict(reference(opened, return_tensors="np"))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, ZeroDivisionError):
        return None


def _compare(name: str, found: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]) -> None:
    for key in found.keys() & expected.keys():
        ours, theirs = found[key], np.asarray(expected[key])
        if ours.shape != theirs.shape:
            raise _differs(name, f"{key} has the shape {list(ours.shape)} instead of {list(theirs.shape)}")
        difference = float(np.abs(ours.astype(np.float64) - theirs).max(initial=0))
        if not difference <= _ALLOWED:
            raise _differs(name, f"{key} differs by up to {difference:.3g}")


def _differs(name: str, reason: str) -> SlipwayError:
    return invalid(
        f"the image processor does not agree with transformers on a test image ({name}): {reason}. "
        f"The installed version of transformers may do other steps"
    )


def _drawn(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """Return a picture [height, width, 3]: a dark shape on a gradient with noise, within a light margin."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    gradient = np.stack([255 * rows / height, 255 * columns / width, 128 + 0 * rows], axis=-1)
    noisy = gradient + generator.normal(0, 25, gradient.shape)
    inside = (rows - height / 2) ** 2 / height**2 + (columns - width / 3) ** 2 / width**2 < 0.04
    noisy[inside] = generator.integers(0, 60, 3)
    noisy[: height // 8] = noisy[:, : width // 10] = 250
    return noisy.clip(0, 255).astype(np.uint8)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
