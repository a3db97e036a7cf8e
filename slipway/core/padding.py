"""Pad requests of different lengths into one batch, and trim the outputs again.

A `PaddingRule` belongs to a model's signature; without one, only requests with equal shapes are merged. Arrays are
padded at the end of their variable dimensions, except the batch dimension, and trimmed there. Does not know the clock,
queues or backends.
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
    """An output's `axis` is as long as the `input_axis` of `input` (the batch dimension is axis 0)."""

    output: str
    axis: int
    input: str
    input_axis: int


@dataclass(frozen=True, slots=True)
class PaddingRule:
    """How requests of different lengths may be batched. The first of `inputs` that a request has gives its length: in
    a batch, padding may be at most `max_share` of this input's tokens, which may be at most `max_tokens` (0: no limit).

    A token is one element of the variable dimensions of one row. If all padded inputs of a request have the same
    length, they are padded to a multiple of `step`, even for a batch of one request: a library that compiles for every
    new shape (OpenVINO: 10 ms and 2 MB each with MiniLM) then sees fewer shapes.
    """

    inputs: tuple[PaddedInput, ...]
    trims: tuple[Trim, ...] = ()
    max_share: float = 0.1
    max_tokens: int = 0
    step: int = 1

    def sizes(self, inputs: Mapping[str, Tensor]) -> tuple[int, ...]:
        """Return the variable sizes of the input that gives the request's length."""
        for padded in self.inputs:
            tensor = inputs.get(padded.name)
            if tensor is not None:
                shape = tensor.shape
                return tuple([shape[axis] for axis in padded.axes])
        return ()

    def rounded(self, sizes: tuple[int, ...], inputs: Mapping[str, Tensor]) -> tuple[int, ...]:
        """Return the sizes to which an input of `sizes` is padded in a batch of one request with `inputs`."""
        return self.up(sizes) if self.step > 1 and self._is_plain(inputs) else sizes

    def up(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """Return each size rounded up to a multiple of `step`."""
        return tuple([-(-size // self.step) * self.step for size in sizes])

    def _is_plain(self, inputs: Mapping[str, Tensor]) -> bool:
        """Return whether each padded input has one variable dimension and all have the same size, which is not 0:
        padding could change the meaning of any other sizes."""
        found = {
            inputs[padded.name].shape[padded.axes[0]] if len(padded.axes) == 1 else 0
            for padded in self.inputs
            if padded.name in inputs
        }
        return len(found) == 1 and 0 not in found

    def padded_input(self, name: str) -> PaddedInput | None:
        """Return how an input is padded, or None if its sizes are fixed."""
        return next((padded for padded in self.inputs if padded.name == name), None)


def longest(sizes: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """Return the maximum size per dimension."""
    return tuple(map(max, zip(*sizes, strict=True)))


def count_tokens(rows: Sequence[int], inputs: Sequence[Mapping[str, Tensor]], rule: PaddingRule) -> tuple[int, int]:
    """Return the number of tokens in a batch's requests, and of padding tokens if each row is as long as the padded
    longest row."""
    sizes = [rule.sizes(tensors) for tensors in inputs]
    own = sum(count * prod(size) for count, size in zip(rows, sizes, strict=True))
    return own, sum(rows) * prod(rule.rounded(longest(sizes), inputs[0])) - own


def stack_padded(arrays: Sequence[np.ndarray], value: float, inner: tuple[int, ...]) -> np.ndarray:
    """Return the rows of all arrays as one array of rows of shape `inner`, with `value` at the end of shorter
    dimensions."""
    stacked = np.full((sum(len(array) for array in arrays), *inner), value, dtype=arrays[0].dtype)
    start = 0
    for array in arrays:
        stacked[slice(start, start + len(array)), *map(slice, array.shape[1:])] = array
        start += len(array)
    return stacked


def trim_outputs(
    answers: Sequence[list[Tensor]], inputs: Sequence[Mapping[str, Tensor]], rule: PaddingRule, *, model: str
) -> list[list[Tensor]]:
    """Return each request's outputs trimmed to its own sizes; raise INTERNAL if an output's size does not follow its
    input's."""
    trimmed = [list(outputs) for outputs in answers]
    for trim in rule.trims:
        if trim.input not in inputs[0]:  # optional, and absent from every request
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
