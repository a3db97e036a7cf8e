"""Inputs from the user: `--sample FILE.npz`, with an array for each input of the model file, in its own shapes.

They replace made-up inputs: the model accepts their sizes and is meant for their values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from slipway.backends.shared.graph import Graph, GraphTensor
from slipway.backends.shared.probing import Run
from slipway.convert.array_file import read_arrays
from slipway.convert.arrays import MAX_BATCH_SIZE, Arrays
from slipway.convert.candidates.subject import Case, Interface
from slipway.convert.encoders.described import rows_to_request
from slipway.datatypes import datatype_of
from slipway.errors import SlipwayError, invalid

_MOST_CASES: Final = 64


def read_sample(path: Path, names: Sequence[str] = ()) -> Arrays:
    """Return the arrays of an .npz file, one for each of `names`; raise INVALID_ARG with what is wrong."""
    arrays = read_arrays(path, f"sample file '{path}' cannot be read as an .npz file of arrays")
    missing = [name for name in names if name not in arrays]
    if missing:
        raise invalid(
            f"sample file '{path}' lacks '{missing[0]}': it needs an array for each input ({', '.join(names)}); "
            f"write it with numpy.savez('{path.name}', {', '.join(f'{name}=...' for name in names)})"
        )
    return {name: arrays[name] for name in names} if names else arrays


def settled_by(path: Path, graph: Graph, run: Run) -> Graph:
    """Return the graph with the parts that its description leaves open, found with a sample instead of made-up values;
    raise INVALID_ARG if the model fails on it."""
    arrays = read_sample(path, list(graph.inputs))
    for name, array in arrays.items():
        _check(path, name, array, graph.inputs[name])
    batched = all(tensor.dims[:1] == (-1,) for tensor in graph.inputs.values())
    inputs = arrays if batched else next(iter(_samples(arrays, graph)), arrays)
    try:
        answers = run(inputs, tuple(graph.outputs))
    except SlipwayError as error:
        raise _misfit(path, f"the model fails on it: {error.message}") from error
    variable = {
        size
        for name, tensor in graph.inputs.items()
        for dim, size in zip(tensor.dims, inputs[name].shape, strict=False)
        if dim == -1
    }
    outputs = {name: _with_dims(each, answers[name].shape, variable) for name, each in graph.outputs.items()}
    found = replace(graph, outputs=outputs)
    counts = {len(array) for array in inputs.values()} if batched else set()
    for name in graph.outputs if found.can_batch else ():
        if {len(answers[name])} != counts:
            given = f"{len(answers[name])} for {', '.join(map(str, sorted(counts)))}"
            return replace(
                found, unbatched=f"the rows of output '{name}' are not those of the inputs (it returned {given})"
            )
    return found


def _with_dims(tensor: GraphTensor, shape: tuple[int, ...], variable: set[int]) -> GraphTensor:
    """Return an output without a shape with this one; a size that is also that of an input's variable dim may vary."""
    if tensor.ranked:
        return tensor
    return replace(tensor, dims=tuple(-1 if size in variable else size for size in shape), ranked=True)


class GivenSampler:
    """Runs a model on rows of a sample. Replaces `sampling.InputSampler`."""

    def __init__(self, path: Path, graph: Graph, interface: Interface) -> None:
        arrays = read_sample(path, [spec.name for spec in interface.inputs])
        batched = interface.max_batch_size > 0
        rows = _rows(arrays) if batched else _samples(arrays, graph)
        self._rows = [rows_to_request(row, interface) for row in rows]
        self._batched = batched
        if not self._rows:
            raise _misfit(path, "its arrays have no or different numbers of rows")

    def unknown_ranges(self) -> tuple[str, ...]:
        """Return nothing: the model is meant for the values of the sample."""
        return ()

    def sizes(self) -> tuple[int, ...]:
        """Return the one size to measure: the rows of a sample have a fixed size."""
        return (max(array.shape[-1] if array.ndim else 1 for array in self._rows[0].values()),)

    def cases(self) -> Iterator[Case]:
        """Yield each row alone, and rows in batches of 2 and of the maximum batch size."""
        for index, row in enumerate(self._rows[:_MOST_CASES]):
            yield Case(f"row {index} of the sample", row, (row,))
        for count in (2, MAX_BATCH_SIZE) if self._batched else ():
            rows = self._cycled(count)
            yield Case(f"{count} rows of the sample", _stacked(rows), tuple(rows))

    def sample(self, length: int, rows: int) -> Arrays:  # noqa: ARG002  a sample has a fixed length
        """Return rows of the sample."""
        return _stacked(self._cycled(rows)) if self._batched else self._rows[0]

    def calibration(self) -> list[Arrays]:
        """Return all rows."""
        return list(self._rows)

    def example(self) -> Arrays:
        """Return two rows to trace a module with."""
        return self.sample(0, 2)

    def _cycled(self, count: int) -> list[Arrays]:
        return [self._rows[index % len(self._rows)] for index in range(count)]


def _check(path: Path, name: str, array: np.ndarray, tensor: GraphTensor) -> None:
    found = datatype_of(array.dtype)
    if found is None or found.config_name != tensor.config_type:
        given = found.name if found else str(array.dtype)
        raise _misfit(path, f"'{name}' is {given}, but the model takes {tensor.config_type.removeprefix('TYPE_')}")
    if not _takes(tensor.dims, array.shape) and not _takes(tensor.dims, array.shape[1:]):
        raise _misfit(path, f"'{name}' has shape {list(array.shape)}, but the model takes {list(tensor.dims)}")


def _takes(dims: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return len(dims) == len(shape) and all(dim in (-1, size) for dim, size in zip(dims, shape, strict=True))


def _misfit(path: Path, problem: str) -> SlipwayError:
    return invalid(f"sample file '{path}' does not fit the model: {problem}")


def _rows(arrays: Arrays) -> list[Arrays]:
    """Return the rows, each an array of one row; none if the arrays have different numbers of rows."""
    counts = {array.shape[0] if array.ndim else 0 for array in arrays.values()}
    count = counts.pop() if len(counts) == 1 else 0
    return [{name: array[row : row + 1] for name, array in arrays.items()} for row in range(count)]


def _samples(arrays: Arrays, graph: Graph) -> list[Arrays]:
    """Return whole inputs: the arrays themselves, or their elements if each has one dim more than in the graph."""
    more = {array.ndim - len(graph.inputs[name].dims) for name, array in arrays.items()}
    if more != {1}:
        return [arrays]
    counts = {len(array) for array in arrays.values()}
    count = counts.pop() if len(counts) == 1 else 0
    return [{name: array[index] for name, array in arrays.items()} for index in range(count)]


def _stacked(rows: Sequence[Arrays]) -> Arrays:
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
