"""The vision encoder as the subject of a conversion: images in, the states that the decoder attends to out.

Pages on a canvas are rescaled and normalised inside the graph, so that a request's bytes go to the engine as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from slipway.convert.arrays import Arrays
from slipway.convert.candidates.subject import Case, Interface
from slipway.convert.candidates.tracing import export_onnx, export_torch
from slipway.convert.generation.reference import compute
from slipway.convert.reading.normalisation import Normalisation
from slipway.core.signature import TensorSpec
from slipway.runtime.generation_model import STATES

PIXELS: Final = "pixel_values"
IMAGE: Final = "image"


class ImageEncoder:
    """The encoder of one checkpoint, `network` as transformers loads it. Implements `subject.Subject`.

    `images` are typical inputs without a batch dimension: pages UINT8 [height, width, 3] if there is a `normalisation`,
    else pixels FP32 [3, height, width].
    """

    reference_name = "transformers in FP32"

    def __init__(
        self, network: Any, images: Sequence[NDArray[Any]], max_batch_size: int, normalisation: Normalisation | None
    ) -> None:
        self.images = images
        self._name = PIXELS if normalisation is None else IMAGE
        self._module = states_module(network, normalisation)
        self._known: dict[int, NDArray[np.float32]] = {}  # states by the identity of a typical image
        _, tokens, size = self.states(images[0]).shape
        datatype = "FP32" if normalisation is None else "UINT8"
        self.interface = Interface(
            inputs=(TensorSpec(self._name, datatype, images[0].shape),),
            outputs=(TensorSpec(STATES, "FP32", (tokens, size)),),
            max_batch_size=max_batch_size,
            embeds=True,
            measured=(tokens,),
            unit="states",
        )

    def states(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Return the states of a typical image in FP32, [1, tokens, size]; each is computed once, as it takes seconds
        for a page."""
        import torch

        if id(image) not in self._known:
            self._known[id(image)] = compute(lambda: self._module(torch.from_numpy(image[None])).numpy())
        return self._known[id(image)]

    def cases(self) -> list[Case]:
        """Return two images in a batch, and the others alone."""
        alone = self.rows(self.images)
        batch = {self._name: np.stack(self.images[:2])}
        single = [Case(f"image {place}", each, (each,)) for place, each in enumerate(alone[2:], 2)]
        return [Case("two images in a batch", batch, tuple(alone[:2])), *single]

    def reference(self, alone: Arrays) -> Arrays:
        """Run transformers."""
        [row] = alone[self._name]
        return {STATES: self.states(next(each for each in self.images if np.shares_memory(each, row)))}

    def rows(self, images: Sequence[NDArray[Any]]) -> list[Arrays]:
        """Return each image as the input of a single row."""
        return [{self._name: image[None]} for image in images]

    def sample(self, length: int, rows: int) -> Arrays:  # noqa: ARG002  every image has the same size
        """Return the typical images, repeated."""
        chosen = [self.images[row % len(self.images)] for row in range(rows)]
        return {self._name: np.stack(chosen)}

    def export_onnx(self, path: Path) -> None:
        """Write the encoder as ONNX."""
        export_onnx(self._module, self.sample(0, 2), self.interface, path)

    def export_torch(self, path: Path, precision: str) -> None:
        """Write the encoder as TorchScript."""
        export_torch(self._module, self.sample(0, 2), path, precision)


def states_module(network: Any, normalisation: Normalisation | None) -> Any:
    """Return a torch module from images to what the decoder attends to, with the weights of `network`."""
    import torch

    class States(torch.nn.Module):
        """The encoder, with the steps before and after it."""

        def __init__(self) -> None:
            super().__init__()
            self.encoder = network.encoder
            self.projection = getattr(network, "enc_to_dec_proj", None)
            if normalisation is not None:
                self.register_buffer("scale", torch.from_numpy(normalisation.scale).view(1, 3, 1, 1))
                self.register_buffer("offset", torch.from_numpy(normalisation.offset).view(1, 3, 1, 1))

        def forward(self, image: Any) -> Any:
            pixels = image
            if normalisation is not None:
                pixels = image.permute(0, 3, 1, 2).to(self.scale.dtype) * self.scale + self.offset
            states = self.encoder(pixel_values=pixels).last_hidden_state
            return states if self.projection is None else self.projection(states)

    return States().eval()
