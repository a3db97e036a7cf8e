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

    A token is one element of the variable dimensions of one row. Where all padded inputs of a request are equally long,
    they are padded to a multiple of `step`, alone in a batch too: libraries that prepare themselves for every new shape
    (OpenVINO: 10 ms and 2 MB for each with MiniLM) see fewer of them.
    """

    inputs: tuple[PaddedInput, ...]
    trims: tuple[Trim, ...] = ()
    max_share: float = 0.1
    max_tokens: int = 0
    step: int = 1

    def sizes(self, inputs: Mapping[str, Tensor]) -> tuple[int, ...]:
        """Return the variable sizes of the input that measures."""
        for padded in self.inputs:
            tensor = inputs.get(padded.name)
            if tensor is not None:
                shape = tensor.shape
                return tuple([shape[axis] for axis in padded.axes])
        return ()

    def rounded(self, sizes: tuple[int, ...], inputs: Mapping[str, Tensor]) -> tuple[int, ...]:
        """Return the `sizes` that an input of a request with `inputs` is padded to, alone in a batch."""
        return self.up(sizes) if self.step > 1 and self._is_plain(inputs) else sizes

    def up(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """Return each size as the next multiple of `step`."""
        return tuple([-(-size // self.step) * self.step for size in sizes])

    def _is_plain(self, inputs: Mapping[str, Tensor]) -> bool:
        """Return whether each padded input has one variable dimension, all of them of one size, which is not 0: any
        other size may mean something that padding would change."""
        found = {
            inputs[padded.name].shape[padded.axes[0]] if len(padded.axes) == 1 else 0
            for padded in self.inputs
            if padded.name in inputs
        }
        return len(found) == 1 and 0 not in found

    def padded_input(self, name: str) -> PaddedInput | None:
        """Return how an input is padded, None where its sizes are fixed."""
        return next((padded for padded in self.inputs if padded.name == name), None)


def longest(sizes: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """Return the sizes that hold all given ones: the maximum per dimension."""
    return tuple(map(max, zip(*sizes, strict=True)))


def count_tokens(rows: Sequence[int], inputs: Sequence[Mapping[str, Tensor]], rule: PaddingRule) -> tuple[int, int]:
    """Return the tokens of a batch's requests, and how many padding ones are added when each row is as long as the
    longest is padded to."""
    sizes = [rule.sizes(tensors) for tensors in inputs]
    own = sum(count * prod(size) for count, size in zip(rows, sizes, strict=True))
    return own, sum(rows) * prod(rule.rounded(longest(sizes), inputs[0])) - own


def stack_padded(arrays: Sequence[np.ndarray], value: float, inner: tuple[int, ...]) -> np.ndarray:
    """Return the rows of all arrays as one, of shape `inner` each; shorter dimensions are filled with `value` at their
    end."""
    stacked = np.full((sum(len(array) for array in arrays), *inner), value, dtype=arrays[0].dtype)
    start = 0
    for array in arrays:
        stacked[slice(start, start + len(array)), *map(slice, array.shape[1:])] = array
        start += len(array)
    return stacked


def trim_outputs(
    answers: Sequence[list[Tensor]], inputs: Sequence[Mapping[str, Tensor]], rule: PaddingRule, *, model: str
) -> list[list[Tensor]]:
    """Return each request's outputs cut to its own sizes; raise INTERNAL when an output does not follow its input."""
    trimmed = [list(outputs) for outputs in answers]
    for trim in rule.trims:
        if trim.input not in inputs[0]:  # optional, and in none of the requests
            continue
        own = [tensors[trim.input].shape[trim.input_axis] for tensors in inputs]
        (padded,) = rule.rounded((max(own),), inputs[0])
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
