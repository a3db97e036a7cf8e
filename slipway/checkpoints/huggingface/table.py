"""A family's table of which stored array becomes which canonical one, and how, with its closed-world check.

`assemble` names every missing, unused and misshapen array by its stored name before any is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from slipway.errors import invalid
from slipway.transformer.spec import Transformer
from slipway.transformer.weights import Array, Shape, Weights, check_complete, expected_shapes

StoredArrays = Mapping[str, Array]
_BLOCK = 1 << 22  # elements compared at once


@dataclass(frozen=True, slots=True)
class ArrayTransform:
    """How a stored array becomes a canonical one: the change of its shape, and of its numbers."""

    shape: Callable[[Shape], Shape]
    apply: Callable[[np.ndarray], np.ndarray]


AS_IS = ArrayTransform(lambda shape: shape, lambda array: array)
TRANSPOSED = ArrayTransform(lambda shape: shape[::-1], lambda array: array.T)  # GPT-2's Conv1D stores [in, out]
FLAT = ArrayTransform(lambda shape: shape[-1:], lambda array: array.reshape(-1))  # [1, ..., 1, n]
UNBATCHED = ArrayTransform(lambda shape: shape[1:], lambda array: array[0])  # [1, rows, n]


def without_rows(count: int) -> ArrayTransform:
    """Return the transform that drops the first `count` rows."""
    return ArrayTransform(lambda shape: (shape[0] - count, *shape[1:]), lambda array: array[count:])


def fused(index: int, count: int) -> ArrayTransform:
    """Return the transform that takes one of `count` products out of GPT-2's fused [in, count * out], or its bias."""

    def cut(array: np.ndarray) -> np.ndarray:
        size = array.shape[-1] // count
        return array[..., index * size : (index + 1) * size].T

    return ArrayTransform(lambda shape: (shape[-1] // count, *shape[:-1]), cut)


@dataclass(frozen=True, slots=True)
class ArraySource:
    """The source of one canonical array: the first of `names` that is stored, transformed; or else `stacked`; or else
    `made`."""

    names: tuple[str, ...]
    change: ArrayTransform = AS_IS
    made: Callable[[], np.ndarray] | None = None  # used when no name is stored
    stacked: tuple[StackedArrays, ...] = ()  # the first that is stored


@dataclass(frozen=True, slots=True)
class StackedArrays:
    """Arrays of one shape that are stored one by one, and become one array along a new first axis: `count` names, with
    the index at "{}"."""

    name: str
    count: int

    def names(self, stored: StoredArrays) -> list[str]:
        """Return the names, [] if the first of them is not stored."""
        present = self.name.format(0) in stored
        return [self.name.format(index) for index in range(self.count)] if present else []


Table = dict[str, ArraySource]


@dataclass(frozen=True, slots=True)
class CheckpointMapping:
    """A family's reading of a checkpoint: the architecture, its table, and patterns of names that may be ignored."""

    spec: Transformer
    table: Table
    ignorable: tuple[str, ...] = ()
    duplicates: Mapping[str, str] | None = None  # names of arrays that must equal another array
    ignored: tuple[str, ...] = ()  # settings that are set and unknown, and so without effect


def linear(canonical: str, stored: str, *, bias: bool = True) -> Table:
    """Return the rows of a linear layer that is stored as in torch."""
    return {f"{canonical}.{part}": ArraySource((f"{stored}.{part}",)) for part in ("weight", "bias")[: 1 + bias]}


def norm(canonical: str, stored: str, *, bias: bool = True) -> Table:
    """Return the rows of a normalisation; old checkpoints from TensorFlow call its arrays gamma and beta."""
    rows: Table = {f"{canonical}.scale": ArraySource((f"{stored}.weight", f"{stored}.gamma"))}
    return rows | {f"{canonical}.bias": ArraySource((f"{stored}.bias", f"{stored}.beta"))} if bias else rows


def prefix_of(stored: StoredArrays, prefix: str) -> str:
    """Return `prefix` if names begin with it, else "": models with a head have it, bare models do not."""
    return prefix if any(name.startswith(prefix) for name in stored) else ""


def same_numbers(one: Array, other: Array) -> bool:
    """Return whether two stored arrays are equal; stops at the first block that differs."""
    if one.shape != other.shape:
        return False
    first, second = one.read().reshape(-1), other.read().reshape(-1)
    blocks = range(0, first.size, _BLOCK)
    return all(np.array_equal(first[at : at + _BLOCK], second[at : at + _BLOCK]) for at in blocks)


def own_head(stored: StoredArrays, head: str, tokens: Sequence[str]) -> bool:
    """Return whether a stored head differs from the first stored array of `tokens`: a tied one may be stored twice.

    The numbers decide, not `tie_word_embeddings`: transformers 5 writes true for all T5 models.
    """
    table = next((name for name in tokens if name in stored), None)
    return head in stored and table is not None and not same_numbers(stored[head], stored[table])


def assemble(draft: CheckpointMapping, stored: StoredArrays, source: str) -> Weights:
    """Return the canonical weights; raise INVALID_ARG naming all missing, unused and misshapen arrays at once."""
    expected = expected_shapes(draft.spec)
    unplaced = expected.keys() - draft.table.keys()
    if unplaced:
        raise AssertionError(f"the table has no row for {sorted(unplaced)}")
    arrays: dict[str, Array] = {}
    problems: list[str] = []
    used: set[str] = set()
    for canonical, shape in expected.items():
        origin = draft.table[canonical]
        used.update(origin.names)  # further names are duplicates of the first
        name = next((each for each in origin.names if each in stored), None)
        parts = next((names for each in origin.stacked if (names := each.names(stored))), []) if name is None else []
        used.update(parts)
        if parts:
            problems += _stacking_problems(parts, stored, shape)
            arrays[canonical] = Array(shape, partial(_stacked, parts, stored))
        elif name is None and origin.made is not None:
            arrays[canonical] = Array(shape, origin.made)
        elif name is None:
            problems.append(f"missing: {origin.names[0]} {list(shape)}")
        else:
            arrays[canonical] = _changed(stored[name], origin.change)
            if arrays[canonical].shape != shape:
                problems.append(_misshapen(name, stored[name].shape, canonical, arrays[canonical].shape, shape))
    problems += _unused(stored, used | (draft.duplicates or {}).keys(), draft.ignorable)
    problems = problems or list(_different(stored, draft.duplicates or {}))
    if problems:
        raise invalid(f"{source} is not the checkpoint that its config.json describes:\n  " + "\n  ".join(problems))
    weights = Weights(arrays)
    check_complete(draft.spec, weights, source)
    return weights


def _stacking_problems(parts: Sequence[str], stored: StoredArrays, shape: Shape) -> Iterator[str]:
    """Yield the first of `parts` that is missing, and those with another shape than the others should have."""
    missing = [name for name in parts if name not in stored]
    if missing:
        more = f", and {len(missing) - 1} more like it" if len(missing) > 1 else ""
        yield f"missing: {missing[0]} {list(shape[1:])}{more}"
    for name in parts:
        if name in stored and stored[name].shape != shape[1:]:
            yield f"{name} has shape {list(stored[name].shape)}, expected {list(shape[1:])}"


def _stacked(parts: Sequence[str], stored: StoredArrays) -> np.ndarray:
    arrays = [stored[name].read() for name in parts]
    return np.stack([array.astype(np.float32) if array.dtype == np.float64 else array for array in arrays])


def _changed(array: Array, change: ArrayTransform) -> Array:
    def read() -> np.ndarray:
        value = change.apply(array.read())
        return value.astype(np.float32) if value.dtype == np.float64 else value

    return Array(change.shape(array.shape), read)


def _misshapen(name: str, stored: Shape, canonical: str, found: Shape, expected: Shape) -> str:
    return f"{name} has shape {list(stored)}, which makes {canonical} {list(found)}, expected {list(expected)}"


def _unused(stored: StoredArrays, used: set[str], ignorable: Sequence[str]) -> Iterator[str]:
    for name, array in stored.items():
        if name in used or any(re.fullmatch(pattern, name) for pattern in ignorable):
            continue
        if not _adds_nothing(name, array, used):
            yield f"unused: {name} {list(array.shape)}"


def _adds_nothing(name: str, array: Array, used: set[str]) -> bool:
    """Return whether an array is a bias of zeros for a product that has no bias: GPTQ's tools store one for each."""
    product, _, part = name.rpartition(".")
    return part == "bias" and f"{product}.weight" in used and not array.read().astype(np.float32).any()


def _different(stored: StoredArrays, duplicates: Mapping[str, str]) -> Iterator[str]:
    for name, original in duplicates.items():
        if name in stored and original in stored and not same_numbers(stored[name], stored[original]):
            yield f"{name} must equal {original}, but its numbers differ"
