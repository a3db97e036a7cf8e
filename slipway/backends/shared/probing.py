"""What only running a graph shows: the sizes it accepts, whether its rows are those of requests, unspecified shapes.

Inputs are made up, so this shows what a graph does, not what it is for. Used only if a graph's description leaves
something open. Pure, over a function that runs the graph; does not know any library.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from slipway.backends.shared.graph import Graph, GraphTensor
from slipway.datatypes import BY_CONFIG_NAME
from slipway.errors import SlipwayError

Arrays = dict[str, np.ndarray]
Run = Callable[[Arrays, Sequence[str]], Arrays]  # raises SlipwayError if the graph fails
Axis = tuple[str, int]  # of an input, by its name

# Tokens first, then pixels and audio samples: powers of two, the sides of common images, a second of audio.
SIZES: Final = (9, 1, 64, 2, 3, 4, 5, 8, 16, 32, 128, 96, 160, 224, 256, 320, 384, 400, 512, 640, 1024, 4096, 16000)
_CHANNELS: Final = (3, 1, 4, 80, 128)  # of images and audio: the size of one axis while others vary
_MOST_ELEMENTS: Final = 1 << 22  # of one made-up input
_SLOW_S: Final = 2.0  # after a run that takes longer, no other size is tried
_ROWS: Final = (2, 3, 5)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes that all variable axes may have together, ascending, except for the axes `fixed` at a size of their own.
    Does not cover first axes that are rows."""

    sizes: tuple[int, ...]
    fixed: Mapping[Axis, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Trial:
    """One successful run: the number of rows in its inputs, and its outputs."""

    rows: int
    outputs: Arrays


def settled(graph: Graph, run: Run) -> Graph:
    """Return the graph with the parts that its description leaves open, found by running it; return it unchanged if
    nothing is open or it fails on all made-up inputs."""
    if not is_open(graph):
        return graph
    sizes = find_sizes(graph, run, most=2)
    trials = list(_trials(graph, run, sizes)) if sizes is not None else []
    if sizes is None or not trials:
        return graph
    found = replace(graph, outputs={name: _ranked(each, trials) for name, each in graph.outputs.items()})
    return replace(found, unbatched=_against_batches(found, trials, run, sizes))


def is_open(graph: Graph) -> bool:
    """Return whether the description leaves open the shape of an output, or whether first dims are the batch axis."""
    if any(not tensor.ranked for tensor in graph.inputs.values()):
        return False  # inputs for them cannot be made up
    unranked = any(not tensor.ranked for tensor in graph.outputs.values())
    return unranked or (graph.can_batch and _names_differ(graph))


def _names_differ(graph: Graph) -> bool:
    """Return whether the named first dims have different names."""
    tensors = (*graph.inputs.values(), *graph.outputs.values())
    return len({tensor.symbols[0] for tensor in tensors if tensor.symbols[:1] not in ((), ("",))}) > 1


def find_sizes(graph: Graph, run: Run, *, most: int = 3) -> Sizes | None:
    """Return up to `most` sizes that the graph accepts, None if it accepts none of those tried: all axes with one size,
    else one of them with the usual channels of images and audio."""
    for fixed in ({}, *_channel_axes(graph)):
        sizes = list(working_sizes(graph, run, most=most, fixed=fixed))
        if sizes:
            return Sizes(tuple(sorted(sizes)), fixed)
    return None


def _channel_axes(graph: Graph) -> Iterator[dict[Axis, int]]:
    """Yield ways to give one variable axis, and axes of the same name, a size of its own; none for a single axis."""
    groups: dict[object, list[Axis]] = {}
    for name, tensor in graph.inputs.items():
        for axis, size in enumerate(tensor.dims):
            if size == -1 and not (axis == 0 and _has_rows(graph)):
                symbol = tensor.symbols[axis] if tensor.symbols else ""
                groups.setdefault(symbol or (name, axis), []).append((name, axis))
    for axes in groups.values() if len(groups) > 1 else ():
        for channels in _CHANNELS:
            yield dict.fromkeys(axes, channels)


def working_sizes(
    graph: Graph, run: Run, sizes: Sequence[int] = SIZES, *, most: int = 0, fixed: Mapping[Axis, int] | None = None
) -> Iterator[int]:
    """Yield the members of `sizes` that the graph accepts, in the same order, `most` of them at most (0: all)."""
    count = 0
    for size in sizes:
        begin = time.monotonic()
        tried = Sizes((size,), fixed or {})
        if _fits(graph, tried) and _tried(graph, run, 2, tried, seed=0) is not None:
            yield size
            count += 1
        if count == most > 0 or time.monotonic() - begin > _SLOW_S:
            return


def made_up(graph: Graph, rows: Mapping[str, int] | int, sizes: Sizes, seed: int) -> Arrays:
    """Return an array of the first of `sizes` for each input: numbers around 0, integers 0 and 1; `rows` is per input
    or for all."""
    random = np.random.default_rng(seed)
    arrays = {}
    for name, tensor in graph.inputs.items():
        dims = _shape(tensor, sizes)
        if _has_rows(graph):
            dims = (rows if isinstance(rows, int) else rows[name], *dims[1:])
        arrays[name] = _values(random, tensor, dims)
    return arrays


def _shape(tensor: GraphTensor, sizes: Sizes) -> tuple[int, ...]:
    size, fixed = sizes.sizes[0], sizes.fixed
    return tuple(fixed.get((tensor.name, axis), size) if each == -1 else each for axis, each in enumerate(tensor.dims))


def _values(random: np.random.Generator, tensor: GraphTensor, dims: tuple[int, ...]) -> np.ndarray:
    dtype = np.dtype(BY_CONFIG_NAME[tensor.config_type].numpy)
    if dtype.kind == "O":
        return np.full(dims, b"a", np.object_)
    if dtype.kind in "biu":
        return random.integers(0, 2, dims).astype(dtype)
    return np.asarray(random.standard_normal(dims)).astype(dtype)


def _has_rows(graph: Graph) -> bool:
    return all(tensor.dims[:1] == (-1,) for tensor in graph.inputs.values())


def _fits(graph: Graph, sizes: Sizes) -> bool:
    shapes = (_shape(tensor, sizes) for tensor in graph.inputs.values())
    return all(np.prod(shape, dtype=float) <= _MOST_ELEMENTS for shape in shapes)


def _tried(graph: Graph, run: Run, rows: Mapping[str, int] | int, sizes: Sizes, *, seed: int) -> Arrays | None:
    try:
        return run(made_up(graph, rows, sizes, seed), tuple(graph.outputs))
    except SlipwayError:
        return None


def _trials(graph: Graph, run: Run, sizes: Sizes) -> Iterator[_Trial]:
    """Yield runs with different numbers of rows, and with two sizes if two work."""
    for seed, rows in enumerate(_ROWS):
        size = sizes.sizes[seed % len(sizes.sizes)]
        outputs = _tried(graph, run, rows, Sizes((size,), sizes.fixed), seed=seed)
        if outputs is not None:
            yield _Trial(rows, outputs)


def _ranked(tensor: GraphTensor, trials: Sequence[_Trial]) -> GraphTensor:
    """Return an output with the shape that it had in all trials, -1 for dims that differed."""
    shapes = [trial.outputs[tensor.name].shape for trial in trials]
    if tensor.ranked or len({len(shape) for shape in shapes}) > 1:
        return tensor
    dims = tuple(sizes[0] if len(set(sizes)) == 1 else -1 for sizes in zip(*shapes, strict=True))
    return replace(tensor, dims=dims, ranked=True)


def _against_batches(graph: Graph, trials: Sequence[_Trial], run: Run, sizes: Sizes) -> str:
    """Return why the first dims are not the rows of requests, "" if they are."""
    if not graph.can_batch:
        return ""
    for name in graph.outputs:
        given = [(trial.rows, trial.outputs[name].shape[0]) for trial in trials]
        if any(rows != count for rows, count in given):
            counts = ", ".join(f"{count} for {rows}" for rows, count in given)
            return f"the rows of output '{name}' are not those of the inputs (it returned {counts})"
    first, *others = graph.inputs
    for name in others:
        rows = {each: 3 if each == name else 2 for each in graph.inputs}
        named_alike = graph.inputs[first].symbols[:1] == graph.inputs[name].symbols[:1]
        if not named_alike and _tried(graph, run, rows, sizes, seed=0) is not None:
            return f"inputs '{first}' and '{name}' may have different numbers of rows"
    return ""
