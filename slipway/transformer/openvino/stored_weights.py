"""The weights in the form that the graph computes with, in one file: written once, then mapped.

Products of the same input are stored as one, so that the graph computes them together: keys and values after the
queries, a block's second factor after the first. A mapped page is in memory once, however often it is used, and the
system can drop it. Knows numpy only.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import ml_dtypes
import numpy as np

from slipway.errors import invalid
from slipway.transformer.mapped_pages import MappedPages
from slipway.transformer.openvino.quantisation import group_size, int4_groups, int8_rows
from slipway.transformer.spec import Transformer
from slipway.transformer.weights import Weights, expected_shapes, token_table

LAYOUT: Final = "openvino 1"  # increased when the same arrays are written differently
DATA: Final = "weights.bin"
INDEX: Final = "weights.json"
ALIGNMENT: Final = 64  # bytes
# The first of several products of one input, and those that are stored after it.
JOINED: Final = {"query": ("query", "key", "value"), "up": ("up", "gated")}
BYTES: Final = {"float32": 4.0, "bfloat16": 2.0, "int8": 1.1, "int4": 0.8}  # per parameter, at most
_DTYPES: Final = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


@dataclass(frozen=True, slots=True, eq=False)
class GraphConstant:
    """An array as it is stored: `values` in the number type `form`, with float32 `scales` if that is an integer.

    int8: scales [out, 1]. int4: values uint8 [out, in / 2] with two numbers each, scales [out, groups].
    """

    form: str  # float32, bfloat16, int8 or int4
    shape: tuple[int, ...]
    values: np.ndarray
    scales: np.ndarray | None = None


def write(spec: Transformer, weights: Weights, directory: Path, precision: str) -> None:
    """Write the files of `open_stored` into an empty directory; one array at a time is in memory."""
    index, pages = {}, MappedPages()
    with (directory / DATA).open("wb") as file:
        for name, sources in stored_names(spec).items():
            arrays = [pages.read(weights[source]) for source in sources]
            array = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
            stored = _stored(array, _form(spec, name, array.shape, precision))
            del arrays, array
            pages.release()
            parts = [_append(file, part) for part in (stored.values, stored.scales) if part is not None]
            index[name] = {"form": stored.form, "shape": stored.shape, "parts": parts}
    (directory / INDEX).write_text(json.dumps(index))


def open_stored(directory: Path) -> dict[str, GraphConstant]:
    """Return the arrays of the files as views of the mapped file.

    Raises INVALID_ARG if the files are not those that `write` leaves.
    """
    try:
        index = json.loads((directory / INDEX).read_text())
        with (directory / DATA).open("rb") as file:
            # A private mapping, because the library takes only memory that could be written to.
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        return {name: _opened(data, **entry) for name, entry in index.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise invalid(f"the stored weights are damaged: {type(error).__name__}") from error


def stored_names(spec: Transformer) -> dict[str, tuple[str, ...]]:
    """Return the name of each stored array, with the names of the arrays that follow one another in it."""
    names = expected_shapes(spec)
    result = {}
    joined = {part for parts in JOINED.values() for part in parts[1:]}
    for name in names:
        prefix, _, kind = name.rpartition(".")
        block, _, part = prefix.rpartition(".")
        if part not in joined:
            others = [f"{block}.{other}.{kind}" for other in JOINED.get(part, ())]
            result[name] = tuple(other for other in others if other in names) or (name,)
    return result


def _form(spec: Transformer, name: str, shape: tuple[int, ...], precision: str) -> str:
    """Return the number type of an array: only products and the token table are stored in other than float32."""
    table = name == token_table(spec)
    if not (name.endswith(".weight") or table):
        return "float32"
    if precision == "int4" and (table or name == "head.weight" or not group_size(shape[1])):
        return "int8"  # rounding matters most in the table and the head
    return precision


def _stored(array: np.ndarray, form: str) -> GraphConstant:
    if form == "int8":
        integers, scales = int8_rows(array)
        return GraphConstant(form, array.shape, integers, scales[:, None])
    if form == "int4":
        packed, scales = int4_groups(array, group_size(array.shape[1]))
        return GraphConstant(form, array.shape, packed, scales)
    return GraphConstant(form, array.shape, np.asarray(array, _DTYPES[form]))


def _append(file: BinaryIO, part: np.ndarray) -> tuple[int, str, tuple[int, ...]]:
    """Write an array at the next multiple of `ALIGNMENT`, and return its place, number type and shape."""
    file.write(b"\0" * (-file.tell() % ALIGNMENT))
    place = file.tell()
    file.write(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
    return place, part.dtype.name, part.shape


def _opened(data: mmap.mmap, form: str, shape: list[int], parts: list[tuple[int, str, list[int]]]) -> GraphConstant:
    return GraphConstant(form, tuple(shape), *_views(data, parts))


def _views(data: mmap.mmap, parts: list[tuple[int, str, list[int]]]) -> Iterator[np.ndarray]:
    for place, name, shape in parts:
        dtype = _DTYPES.get(name) or np.dtype(name)
        yield np.frombuffer(data, dtype, int(np.prod(shape)), place).reshape(shape)


def drop_pages(stored: Mapping[str, GraphConstant]) -> None:
    """Let the system drop the pages of the mapped file; they come back when they are read."""
    pages = MappedPages()
    for array in stored.values():
        pages.read(array.values)
    pages.release()
