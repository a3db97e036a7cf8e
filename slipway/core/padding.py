"""What may be padded so that requests of different lengths make one batch, and how it is undone.

A `PaddingRule` belongs to a model's signature; where there is none, shapes are merged only when they are equal. Arrays
are padded at the end of their variable dimensions, batch dimension excluded, and cut back there. Values without clock;
knows neither queues nor backends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from slipway.core.tensor import Tensor
from slipway.errors import internal


@dataclass(frozen=True, slots=True)
class PaddedInput:
    """An input that may be padded along `axes` (the batch dimension is axis 0) with `value`."""

    name: str
    value: float
    axes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Trim:
    """`axis` of an output is as long as `input_axis` of `input` (the batch dimension is axis 0)."""

    output: str
    axis: int
    input: str
    input_axis: int


@dataclass(frozen=True, slots=True)
class PaddingRule:
    """How requests of different lengths may be batched. The first input, or the first that a request has, measures:
    its padding may be at most `max_share` of its tokens in a batch, and those at most `max_tokens` (0: any number).

    A token is one element of the variable dimensions of one row.
    """

    inputs: tuple[PaddedInput, ...]
    trims: tuple[Trim, ...] = ()
    max_share: float = 0.1
    max_tokens: int = 0

    def sizes(self, inputs: Mapping[str, Tensor]) -> tuple[int, ...]:
        """Return the variable sizes of the input that measures."""
        for padded in self.inputs:
            tensor = inputs.get(padded.name)
            if tensor is not None:
                shape = tensor.shape
                return tuple([shape[axis] for axis in padded.axes])
        return ()

    def pad_value(self, name: str) -> float | None:
        """Return what an input is padded with, None where its sizes are fixed."""
        return next((padded.value for padded in self.inputs if padded.name == name), None)


def longest(sizes: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """Return the sizes that hold all given ones: the maximum per dimension."""
    return tuple(map(max, zip(*sizes, strict=True)))


def count_tokens(rows: Sequence[int], sizes: Sequence[tuple[int, ...]]) -> tuple[int, int]:
    """Return the tokens of a batch's requests, and how many padding ones are added when each row is as long as the
    longest."""
    own = sum(count * prod(size) for count, size in zip(rows, sizes, strict=True))
    return own, sum(rows) * prod(longest(sizes)) - own


def stack_padded(arrays: Sequence[np.ndarray], value: float) -> np.ndarray:
    """Return the rows of all arrays as one; shorter dimensions are filled with `value` at their end."""
    inner = longest([array.shape[1:] for array in arrays])
    stacked = np.full((sum(len(array) for array in arrays), *inner), value, dtype=arrays[0].dtype)
    start = 0
    for array in arrays:
        stacked[slice(start, start + len(array)), *map(slice, array.shape[1:])] = array
        start += len(array)
    return stacked


def trim_outputs(
    answers: Sequence[list[Tensor]], inputs: Sequence[Mapping[str, Tensor]], trims: Sequence[Trim], *, model: str
) -> list[list[Tensor]]:
    """Return each request's outputs cut to its own sizes; raise INTERNAL when an output does not follow its input."""
    trimmed = [list(outputs) for outputs in answers]
    for trim in trims:
        if trim.input not in inputs[0]:  # optional, and in none of the requests
            continue
        own = [tensors[trim.input].shape[trim.input_axis] for tensors in inputs]
        padded = max(own)
        if min(own) == padded:
            continue
        for outputs, size in zip(trimmed, own, strict=True):
            for place, tensor in enumerate(outputs):
                if tensor.name == trim.output:
                    _check_follows(tensor, trim, padded, model)
                    outputs[place] = Tensor.from_array(tensor.name, _cut(tensor.array, trim.axis, size))
    return trimmed


def _cut(array: np.ndarray, axis: int, size: int) -> np.ndarray:
    return array[(slice(None),) * axis + (slice(size),)]


def _check_follows(tensor: Tensor, trim: Trim, padded: int, model: str) -> None:
    if trim.axis >= len(tensor.shape) or tensor.shape[trim.axis] != padded:
        raise internal(
            f"output '{tensor.name}' of model '{model}' has shape {list(tensor.shape)}, but its dim {trim.axis - 1} "
            f"should follow input '{trim.input}', which was padded to {padded}: correct LENGTH_BATCHING_TRIM_OUTPUTS"
        )
