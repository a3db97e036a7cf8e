"""How the pixels of a page become the numbers that an encoder was trained on: one product and one sum per channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slipway.convert.vision.image_settings import ImageSettings
from slipway.errors import unsupported


@dataclass(frozen=True, slots=True)
class Normalisation:
    """`pixel * scale + offset`, float32 [3] each."""

    scale: NDArray[np.float32]
    offset: NDArray[np.float32]

    @classmethod
    def of(cls, settings: ImageSettings) -> Normalisation:
        """Return what an image processor does to the levels; raise UNSUPPORTED for a step that is not of this form."""
        if settings.flipped:
            raise unsupported(f"{settings.kind} swaps red and blue, which is not supported for pages")
        scale, offset = np.ones(3), np.zeros(3)
        for step in settings.levels:
            if step.name == "rescale":
                scale, offset = scale * step.arguments["factor"], offset * step.arguments["factor"]
            elif step.name == "normalise":
                deviation = np.asarray(step.arguments["std"], np.float64)
                scale, offset = scale / deviation, (offset - np.asarray(step.arguments["mean"])) / deviation
            else:
                raise unsupported(f"{settings.kind} has the step '{step.name}', which is not supported for pages")
        return cls(scale.astype(np.float32), offset.astype(np.float32))
