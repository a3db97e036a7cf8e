"""Writes a FasterTransformer checkpoint from any canonical one, with one array in memory at a time.

The reader's table is used backwards: each file is made from the array, or the three of a fused file, that belong there.
Everything is written next to the target, which is replaced at the end or not at all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from slipway.checkpoints.checkpoint import Checkpoint
from slipway.checkpoints.fastertransformer.array_files import DTYPES, SUFFIX, locate
from slipway.checkpoints.fastertransformer.config_ini import CONFIG, DATA_TYPES
from slipway.checkpoints.fastertransformer.description import MOST_WAYS, Description
from slipway.checkpoints.fastertransformer.layout import T5, T5_UNREAD, Place
from slipway.checkpoints.fastertransformer.sections import (
    Sections,
    WriteOptions,
    describe_sections,
    write_ini,
    written,
)
from slipway.checkpoints.fastertransformer.staging import staged
from slipway.errors import invalid, unsupported
from slipway.transformer.spec import Transformer
from slipway.transformer.weights import token_table

_LOG: Final = logging.getLogger("slipway.checkpoints")
_NOTHING: Final[Sections] = {}


@dataclass(frozen=True, slots=True)
class _File:
    """One file, or one per rank: the canonical arrays it is made of, and how they are stored in it."""

    place: Place
    names: tuple[str, ...]  # three for a fused file; otherwise one, or several that must be equal
    data_type: str


def write_fastertransformer(
    checkpoint: Checkpoint,
    target: Path,
    options: WriteOptions,
    *,
    printed: Sections = _NOTHING,
    stage: Callable[[Path], AbstractContextManager[Path]] = staged,
) -> None:
    """Write `checkpoint` to the directory `target`: config.ini and all files. `stage` provides the directory that
    becomes `target`.

    `printed` are sections of a Hugging Face configuration that config.ini repeats. Raises UNSUPPORTED for a model
    that the format cannot represent, INVALID_ARG if the ranks cannot share it or `target` cannot be written.
    """
    _check(checkpoint.spec, options)
    spec = written(checkpoint.spec, options)
    sections, description = describe_sections(spec, options)
    locate(target, description, options.ways)  # raises if the ranks cannot share
    with stage(target) as directory:
        write_ini(directory / CONFIG, sections, printed)
        for file in _files(spec, description, options):
            _write(directory, file, checkpoint.weights, options.ways)


def _check(spec: Transformer, options: WriteOptions) -> None:
    if options.data_type not in DATA_TYPES:
        raise invalid(f"data type '{options.data_type}' is not one of {', '.join(DATA_TYPES)}")
    if options.beta and (options.data_type != "fp32" or spec.encoder is None or spec.decoder is None):
        raise invalid("FasterTransformer's first layout only supports a whole T5 in fp32")
    if not 1 <= options.ways <= MOST_WAYS:
        raise invalid(f"a checkpoint can be split 1 to {MOST_WAYS} ways, not {options.ways}")
    for name, stack in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        if stack is not None and stack.heads % options.ways:
            raise invalid(f"{options.ways} ranks cannot share the {stack.heads} heads of the {name}")


def _files(spec: Transformer, description: Description, options: WriteOptions) -> list[_File]:
    """Return all files of a checkpoint: those of the table, and those that only the converters write."""
    found: dict[str, _File] = {}
    for name, where in locate(Path(), description, options.ways).items():
        before = found.get(where.place.file)
        names = (*before.names, name) if before is not None else (name,)
        found[where.place.file] = _File(where.place, names, where.data_type)
    if description.table is T5:
        tokens = token_table(spec) if spec.decoder is not None else "encoder.embedding.tokens"
        found[T5_UNREAD] = _File(Place(T5_UNREAD, transposed=True), (tokens,), description.encoder_type)
        if spec.decoder is not None and spec.tied_head and not options.beta:  # the current layout always has a head
            found["head"] = _File(T5["head.weight"], (tokens,), description.decoder_type)
    return list(found.values())


def _write(directory: Path, file: _File, weights: Mapping[str, np.ndarray], ways: int) -> None:
    whole = _stored(file, weights)
    split = file.place.split
    parts = [whole] if split is None else np.split(whole, ways, axis=split)
    for rank, part in enumerate(parts):
        name = f"{file.place.file}{SUFFIX}" if split is None else f"{file.place.file}.{rank}{SUFFIX}"
        _LOG.debug("%s: %s %s from %s", name, file.data_type, list(part.shape), ", ".join(file.names))
        data = np.ascontiguousarray(_cast(part, file)).reshape(-1).view(np.uint8)
        with (directory / name).open("wb") as output:  # not tofile, whose error does not say that the disk is full
            output.write(data.data)


def _stored(file: _File, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the array of all ranks as it is stored."""
    parts = [weights[name].T if file.place.transposed else weights[name] for name in file.names]
    if file.place.part is not None:
        return np.stack(parts, axis=-2)
    if not all(np.array_equal(parts[0], part) for part in parts[1:]):
        raise unsupported(f"FasterTransformer has one file for {' and '.join(file.names)}, which differ here")
    return parts[0]


def _cast(values: np.ndarray, file: _File) -> np.ndarray:
    with np.errstate(over="ignore"):
        cast = values.astype(DTYPES[file.data_type])
    if file.data_type == "fp16" and not np.isfinite(cast).all() and np.isfinite(values).all():
        largest = float(np.abs(values.astype(np.float32)).max())
        raise invalid(
            f"'{file.names[0]}' contains {largest:g}, more than fp16's {np.finfo(np.float16).max:g}: write fp32"
        )
    return cast
