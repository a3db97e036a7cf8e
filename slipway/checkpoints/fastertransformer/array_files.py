"""Raw arrays in files: sizes are checked before anything is read; then files are mapped and ranks are merged.

Knows where arrays are stored (`layout`), not what they mean.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Final

import ml_dtypes
import numpy as np

from slipway.checkpoints.fastertransformer.description import Description
from slipway.checkpoints.fastertransformer.layout import Place, place
from slipway.errors import invalid, unavailable, unsupported
from slipway.transformer.weights import Array, Shape, expected_shapes

DTYPES: Final = {"fp32": np.dtype("<f4"), "fp16": np.dtype("<f2"), "bf16": np.dtype(ml_dtypes.bfloat16)}
SUFFIX: Final = ".bin"
# FasterTransformer always reads these as fp32, even if config.ini says otherwise (T5DecodingWeight.cc, loadModel), and
# its megatron_t5_ckpt_convert.py writes the first as fp32.
_OFTEN_FLOAT: Final = ("shared.bias", "decoder.final_layer_norm.bias")

_RANK: Final = re.compile(r"(.+)\.(\d+)")
_LOG: Final = logging.getLogger("slipway.checkpoints")


@dataclass(frozen=True, slots=True)
class ArrayFiles:
    """The files of one canonical array: one, or one per rank, each of `shape`."""

    place: Place
    paths: tuple[Path, ...]
    shape: Shape
    data_type: str

    @property
    def size(self) -> int:
        """The size of each file in bytes."""
        return prod(self.shape) * int(DTYPES[self.data_type].itemsize)

    def read(self) -> np.ndarray:
        """Return the canonical array: a view of the mapped file if there is one file, a merged copy otherwise."""
        parts = [_map(path, self.shape, DTYPES[self.data_type]) for path in self.paths]
        if self.place.part is not None:
            parts = [part[..., self.place.part, :] for part in parts]
        merged = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=self.place.split)
        return merged.T if self.place.transposed else merged


def locate(directory: Path, description: Description, ways: int) -> dict[str, ArrayFiles]:
    """Return the files in `directory` of each array of a model.

    Raises UNSUPPORTED for an array that the format has no file for, INVALID_ARG if `ways` ranks cannot share an axis.
    """
    located: dict[str, ArrayFiles] = {}
    uneven: dict[int, str] = {}
    for name, shape in expected_shapes(description.spec).items():
        found = place(description.table, name)
        if found is None:
            raise unsupported(f"'{directory}': FasterTransformer has no file for '{name}'")
        whole = found.stored_shape(shape)
        if found.split is not None and whole[found.split] % ways:
            uneven.setdefault(whole[found.split], name)
        located[name] = _stored(directory, found, whole, ways, description.data_type(name))
    if uneven:
        reasons = "; ".join(f"{size} of '{name}'" for size, name in uneven.items())
        raise invalid(f"'{directory}': {ways} ranks cannot share {reasons}")
    return located


def _stored(directory: Path, where: Place, whole: Shape, ways: int, data_type: str) -> ArrayFiles:
    if where.split is None:
        path = directory / f"{where.file}{SUFFIX}"
        if where.file in _OFTEN_FLOAT and path.is_file() and path.stat().st_size == 4 * prod(whole):
            data_type = "fp32"
        return ArrayFiles(where, (path,), whole, data_type)
    own = list(whole)
    own[where.split] //= ways
    paths = tuple(directory / f"{where.file}.{rank}{SUFFIX}" for rank in range(ways))
    return ArrayFiles(where, paths, tuple(own), data_type)


def array(where: ArrayFiles, shape: Shape) -> Array:
    """Return the array, which is read on access."""
    return Array(shape, where.read)


def check_files(directory: Path, wanted: Mapping[str, ArrayFiles], ignore: Callable[[str], bool]) -> None:
    """Raise INVALID_ARG naming every file that is missing or has the wrong size; read none.

    Warn of files that are not wanted and that `ignore` (called with the name before `.bin`) does not know.
    """
    sizes = {path.name: path.stat().st_size for path in directory.glob(f"*{SUFFIX}") if path.is_file()}
    files = {path.name: where for where in wanted.values() for path in where.paths}
    problems = [f"missing: {name}, {_form(where)}" for name, where in files.items() if name not in sizes]
    wrong = {name: where for name, where in files.items() if sizes.get(name, where.size) != where.size}
    for name, where in wrong.items():
        word = "truncated" if sizes[name] < where.size else "oversized"
        problems.append(f"{word}: {name} has {sizes[name]} bytes, expected {where.size}: {_form(where)}")
    if problems:
        hint = _hint([(sizes[name], where.size) for name, where in wrong.items()])
        raise invalid(
            f"'{directory}' is not the checkpoint that its config.ini describes{hint}:\n  " + "\n  ".join(problems)
        )
    unused = sorted(name for name in sizes.keys() - files.keys() if not ignore(name.removesuffix(SUFFIX)))
    if unused:
        _LOG.warning("'%s': the model does not use %s", directory, ", ".join(unused))


def count_ways(directory: Path, places: Iterable[Place]) -> int:
    """Return the number of ranks that the files in `directory` are split over: as most of `places` show, 1 if none."""
    ranks: dict[str, int] = {}
    for path in directory.glob(f"*{SUFFIX}"):
        found = _RANK.fullmatch(path.name.removesuffix(SUFFIX))
        if found:
            ranks[found.group(1)] = max(ranks.get(found.group(1), 0), int(found.group(2)) + 1)
    counts = Counter(ranks[each.file] for each in places if each.split is not None and each.file in ranks)
    return counts.most_common(1)[0][0] if counts else 1


def _map(path: Path, shape: Shape, dtype: np.dtype) -> np.ndarray:
    try:
        # Copy-on-write: the file cannot be changed, and torch accepts the array without a warning.
        return np.memmap(path, dtype, mode="c", shape=shape).view(np.ndarray)
    except (OSError, ValueError) as error:  # ValueError: the file has become shorter since it was checked
        raise unavailable(f"cannot read '{path}': {error}") from error


def _form(where: ArrayFiles) -> str:
    return f"{where.data_type} {list(where.shape)}"


def _hint(sizes: list[tuple[int, int]]) -> str:
    """Return the likely reason if every file has half, or twice, the expected size."""
    if len(sizes) > 1 and all(given * 2 == expected for given, expected in sizes):
        return " (each has half the size: is weight_data_type fp32 instead of fp16, or are there more ranks?)"
    if len(sizes) > 1 and all(given == expected * 2 for given, expected in sizes):
        return " (each has twice the size: is weight_data_type fp16 instead of fp32, or are there fewer ranks?)"
    return ""
