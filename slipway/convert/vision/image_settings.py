"""What an image processor does, as values: the steps in their order, and the file that the written model reads.

The functions behind the names of the steps are in `slipway.convert.models.image_processor`. Knows no file format of
checkpoints.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

# Steps after which every image has the step's height and width; the others leave a size that depends on the image.
_FIXED: Final = frozenset({"resize", "crop_centre", "pad_centre"})


@dataclass(frozen=True, slots=True)
class ImageStep:
    """One step by the name of its function, with the function's arguments."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ImagePadding:
    """The size to which images are padded with zeros below and to the right, in pixels; None: the largest of the
    request."""

    height: int | None = None
    width: int | None = None


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """The image processor of one checkpoint.

    `kind` is its class in transformers. `steps` change the geometry of 8-bit RGB images; `levels` turn the 256 levels
    of a channel into the network's values; `flipped` swaps red and blue. Without `padding`, all images of a request
    need to have the same size in the end. `masks`: transformers' processor returns pixel_mask too. `notes` name the
    settings of the checkpoint that have no effect.
    """

    kind: str
    steps: Sequence[ImageStep]
    levels: Sequence[ImageStep]
    padding: ImagePadding | None = None
    flipped: bool = False
    masks: bool = False
    notes: tuple[str, ...] = ()

    @property
    def height(self) -> int | None:
        """The height of every result in pixels, None if it depends on the image."""
        return self._size[0]

    @property
    def width(self) -> int | None:
        """The width of every result in pixels, None if it depends on the image."""
        return self._size[1]

    @property
    def _size(self) -> tuple[int | None, int | None]:
        if self.padding is not None and self.padding.height is not None:
            return self.padding.height, self.padding.width
        last = self.steps[-1] if self.steps else None
        if last is None or last.name not in _FIXED:
            return None, None
        return last.arguments["height"], last.arguments["width"]

    def to_pipeline(self) -> dict[str, Any]:
        """Return the content of image.json, from which an `ImagePipeline` is made."""
        return {
            "steps": [[step.name, dict(step.arguments)] for step in self.steps],
            "levels": [[step.name, dict(step.arguments)] for step in self.levels],
            "flipped": self.flipped,
            "padding": None if self.padding is None else asdict(self.padding),
            "height": self.height,
            "width": self.width,
        }

    def to_json(self) -> str:
        """Return the text of image.json."""
        return json.dumps(self.to_pipeline(), indent=2) + "\n"
