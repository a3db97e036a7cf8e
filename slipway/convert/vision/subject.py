"""A network that sees images as the subject of a conversion: pictures for its gate, and its reference.

What the network computes is behind `ImageNetwork`, so classifiers, detectors and the encoders of larger models have the
same subject. Pictures are prepared by transformers' own image processor: the served one is compared with it elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from slipway.convert.arrays import MAX_BATCH_SIZE, Arrays
from slipway.convert.candidates.subject import Case, Interface, Matching
from slipway.convert.candidates.tracing import export_onnx, export_torch
from slipway.convert.vision.network import UNIT_EMBEDDING, ImageNetwork
from slipway.convert.vision.pictures import Picture, make_picture, read_pictures
from slipway.core.signature import TensorSpec
from slipway.errors import invalid

Prepare = Callable[[Sequence[Picture]], Arrays]  # pictures -> a batch, as the image processor of a checkpoint does

_USUAL: Final = (480, 640)  # pixels, height and width
_SHAPES: Final = (_USUAL, (640, 480), (300, 300), (375, 500), (270, 480), (90, 60))
_LIKE: Final = ((480, 640), (480, 620))  # shapes that share a batch although they differ
_PIXELS: Final = 112 * 224 * 224  # of all rows in the gate together: 112 rows of the usual size
_FEWEST: Final = 6
_CALIBRATION: Final = 32  # made-up pictures to quantise with; more of them change little and take minutes
_LARGE: Final = 512 * 512  # pixels of a row; larger ones are batched less, because their activations take gigabytes
_MOST_LARGE: Final = 4


@dataclass(frozen=True, slots=True)
class ImageFrame:
    """The images that a network takes: `height` and `width` in pixels, as they are for a picture of the usual size;
    `fixed` if all pictures become that size."""

    height: int
    width: int
    fixed: bool

    @property
    def rows(self) -> int:
        """The number of single pictures to compare: fewer if they are large."""
        return max(_FEWEST, min(MAX_BATCH_SIZE * 7, _PIXELS // (self.height * self.width)))

    @property
    def most_rows(self) -> int:
        """The maximum batch size."""
        return MAX_BATCH_SIZE if self.height * self.width <= _LARGE else _MOST_LARGE


def preparing(processor: Any) -> Prepare:
    """Return the function that prepares pictures with a processor of transformers."""

    def prepare(pictures: Sequence[Picture]) -> Arrays:
        prepared = processor(images=list(pictures), return_tensors="np")
        arrays = {"pixel_values": np.asarray(prepared["pixel_values"], np.float32)}
        if "pixel_mask" in prepared:
            arrays["pixel_mask"] = np.asarray(prepared["pixel_mask"], np.int64)
        return arrays

    return prepare


def frame_of(prepare: Prepare) -> ImageFrame:
    """Return the frame, found by preparing pictures of several shapes."""
    sizes = [prepare([make_picture(0, *shape)])["pixel_values"].shape[2:] for shape in _SHAPES[:4]]
    height, width = sizes[0]
    return ImageFrame(height, width, fixed=len(set(sizes)) == 1)


class ImageSubject:
    """A network of images. Implements `candidates.subject.Subject`."""

    reference_name = "transformers in FP32"

    def __init__(
        self,
        network: ImageNetwork,
        prepare: Prepare,
        *,
        labels: bool = False,
        matching: Matching | None = None,
        comparable: Callable[[Arrays], bool] = lambda _: True,
    ) -> None:
        """`labels`: the results are labels. `matching` compares the outputs of a row if it is not done by position, and
        `comparable` returns whether a row has a result that does not hang on a rounding error."""
        self.frame = frame_of(prepare)
        self._network = network
        self._prepare = prepare
        self._most = self.frame.most_rows
        self._comparable = comparable
        self.interface = replace(self._interface(), matching=matching, compares_labels=labels or matching is not None)

    def _interface(self) -> Interface:
        frame = self.frame
        height, width = (frame.height, frame.width) if frame.fixed else (-1, -1)
        dims = {"pixel_values": ("FP32", (3, height, width)), "pixel_mask": ("INT64", (height, width))}
        answer = self._network.reference(self._rows([make_picture(0, *_USUAL)]))
        other = answer if frame.fixed else self._network.reference(self._rows([make_picture(0, *_SHAPES[3])]))
        return Interface(
            tuple(TensorSpec(name, *dims[name]) for name in self._network.inputs),
            tuple(TensorSpec(name, "FP32", _common(answer[name], other[name])) for name in self._network.outputs),
            self._most,
            embeds=UNIT_EMBEDDING in self._network.outputs,
            measured=(min(frame.height, frame.width),),
            unit="pixels",
            sampled="pictures",
        )

    def cases(self) -> list[Case]:
        """Return prepared pictures: batches of 1, 2 and as many rows as are served, of several shapes. Rows that cannot
        be compared are left out; raise `SlipwayError` if none is left, because the gate would pass anything."""
        cases = [case for case in map(self._compared, self._cases()) if case.alone]
        if not cases:
            raise invalid(
                "no picture can be compared: the network gives the best places of every picture the same score, so "
                "which of them it chooses depends on rounding"
            )
        return cases

    def _compared(self, case: Case) -> Case:
        kept = [row for row, alone in enumerate(case.alone) if self._comparable(alone)]
        batch = {name: array[kept] for name, array in case.batch.items()}
        return replace(case, batch=batch, alone=tuple(case.alone[row] for row in kept))

    def _cases(self) -> Iterator[Case]:
        yield self._case("one picture", [make_picture(1, *_USUAL)])
        yield self._case("two pictures", [make_picture(seed, *shape) for seed, shape in enumerate(_LIKE, 2)])
        rows = self.frame.rows
        if not self.frame.fixed:
            for row in range(min(rows, len(_SHAPES))):
                shape = _SHAPES[row]
                yield self._case(f"a picture of {shape[1]} x {shape[0]} pixels", [make_picture(4 + row, *shape)])
            yield self._case("a batch of pictures", [make_picture(20 + row, *_USUAL) for row in range(self._most)])
            return
        for start in range(0, rows, self._most):
            numbers = range(start, min(start + self._most, rows))
            pictures = [make_picture(4 + row, *_SHAPES[row % len(_SHAPES)]) for row in numbers]
            name = f"pictures {start}-{start + len(pictures) - 1}"
            yield replace(self._case(name, pictures), texts=True)

    def _case(self, name: str, pictures: Sequence[Picture]) -> Case:
        batch = self._rows(pictures)
        rows = ({name: array[row : row + 1] for name, array in batch.items()} for row in range(len(pictures)))
        return Case(name, batch, tuple(rows))

    def _rows(self, pictures: Sequence[Picture]) -> Arrays:
        prepared = self._prepare(pictures)
        return {name: np.ascontiguousarray(prepared[name]) for name in self._network.inputs}

    def reference(self, alone: Arrays) -> Arrays:
        """Return the outputs of transformers for one row."""
        return self._network.reference(alone)

    def sample(self, length: int, rows: int) -> Arrays:  # noqa: ARG002  there is one size to measure with
        """Return prepared pictures of the usual size, the same on every call."""
        return self._rows([make_picture(100 + row, *_USUAL) for row in range(rows)])

    def calibration(self, directory: Path | None) -> list[Arrays]:
        """Return single rows, from the user's directory of pictures or made up; raise `SlipwayError` if the directory
        has none or one cannot be read."""
        if directory is None:
            shapes = [_SHAPES[row % len(_SHAPES)] for row in range(min(self.frame.rows, _CALIBRATION))]
            return [self._rows([make_picture(200 + row, *shape)]) for row, shape in enumerate(shapes)]
        return [self._rows([picture]) for picture in read_pictures(directory, self.frame.height * self.frame.width)]

    def export_onnx(self, path: Path) -> None:
        """Trace the network to an ONNX file with variable rows, and variable sizes if it takes them."""
        export_onnx(self._network.module, self._example(), self.interface, path)

    def export_torch(self, path: Path, precision: str) -> None:
        """Trace the network to TorchScript."""
        export_torch(self._network.module, self._example(), path, precision)

    def _example(self) -> Arrays:
        # Two rows that differ in shape: without padding, the trace would record "nothing is masked" as a constant.
        return self._rows([make_picture(seed, *shape) for seed, shape in enumerate(_LIKE)])


def _common(one: np.ndarray, other: np.ndarray) -> tuple[int, ...]:
    """Return the dims of an output without its rows, -1 where they depend on the image."""
    return tuple(size if size == also else -1 for size, also in zip(one.shape[1:], other.shape[1:], strict=True))
