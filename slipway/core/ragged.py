"""Tensors of a batch whose requests differ in shape: ragged inputs, and the inputs and outputs that describe the batch.

A ragged input reaches the model as one flat array, request after request; batch inputs, made from the shapes of the
requests, say where each one begins. A scattered output comes back flat and is divided by those shapes. Kinds and values
are those of Triton's `model_config.proto` (BatchInput, BatchOutput) and `backend_input_collector.cc`. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Final

import numpy as np

from slipway.errors import unsupported

Shapes = Sequence[tuple[int, ...]]  # of one input, per request, as the model sees it


def _counts(shapes: Shapes) -> np.ndarray:
    return np.array([prod(shape) for shape in shapes], np.int64)


def _ends(shapes: Shapes) -> np.ndarray:
    return np.cumsum(_counts(shapes))


def _bounds(shapes: Shapes) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), _ends(shapes)])


def _longest(shapes: Shapes) -> np.ndarray:
    return np.zeros(max(map(prod, shapes)), np.int8)  # only its shape counts


def _row_shapes(shapes: Shapes) -> np.ndarray:
    rows = [np.array(shape[1:], np.int64) for shape in shapes]
    return np.repeat(np.stack(rows), [shape[0] for shape in shapes], axis=0)


def _flat_row_shapes(shapes: Shapes) -> np.ndarray:
    return _row_shapes(shapes).reshape(-1)


# Kind -> the batch input's values, for the shapes of its source.
KINDS: Final[Mapping[str, Callable[[Shapes], np.ndarray]]] = {
    "BATCH_ELEMENT_COUNT": _counts,
    "BATCH_ACCUMULATED_ELEMENT_COUNT": _ends,
    "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO": _bounds,
    "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE": _longest,
    "BATCH_ITEM_SHAPE": _row_shapes,
    "BATCH_ITEM_SHAPE_FLATTEN": _flat_row_shapes,
}

_LARGEST: Final = {"INT32": 2**31 - 1, "FP32": 2**24}  # up to which a datatype holds every whole number
_DTYPES: Final = {"INT32": np.int32, "FP32": np.float32}


@dataclass(frozen=True, slots=True)
class BatchInput:
    """An input that the server adds to each batch under every name in `targets`, from the shapes of `source`.

    `kind` is a key of `KINDS`; `datatype` is INT32 or FP32.
    """

    kind: str
    targets: tuple[str, ...]
    datatype: str
    source: str

    def value(self, shapes: Shapes) -> np.ndarray:
        """Return the tensor for a batch; raise UNSUPPORTED if the datatype cannot hold its numbers exactly."""
        numbers = KINDS[self.kind](shapes)
        largest = int(numbers.max(initial=0))
        if largest > _LARGEST[self.datatype]:
            raise unsupported(
                f"batch input '{', '.join(self.targets)}' is {self.datatype}, which cannot represent {largest}, a "
                f"number that describes input '{self.source}' of the batch"
            )
        return numbers.astype(_DTYPES[self.datatype])


@dataclass(frozen=True, slots=True)
class RaggedBatch:
    """Which tensors of a model depend on the requests of a batch: its ragged `inputs`, its batch inputs, and for each
    scattered output the input whose shapes divide it."""

    inputs: frozenset[str] = frozenset()
    batch_inputs: tuple[BatchInput, ...] = ()
    scattered: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self.inputs or self.batch_inputs or self.scattered)


NOTHING_RAGGED: Final = RaggedBatch()


def scattered_shape(dims: tuple[int, ...], source: tuple[int, ...]) -> tuple[int, ...]:
    """Return a request's shape of a scattered output: each -1 of `dims` is the size of the same axis of its source."""
    return tuple(source[axis] if size == -1 else size for axis, size in enumerate(dims))
