"""Opens a tensor2tensor checkpoint, TensorFlow's or ours, as the one network of the project: a closed world.

Every stored array is used, ignored because it belongs to training, or named as unused; every missing one is named.
Arrays are read on access, with their checksums. Knows the layout only through `layout.py`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from slipway.checkpoints.checkpoint import Checkpoint
from slipway.checkpoints.sinusoidal_positions import timing_signal
from slipway.checkpoints.tensor2tensor.bundle import open_bundle
from slipway.checkpoints.tensor2tensor.hparam_limits import check_network
from slipway.checkpoints.tensor2tensor.hparams import HParams
from slipway.checkpoints.tensor2tensor.layout import (
    GENERIC_SPACE,
    IGNORABLE,
    MODEL,
    PADDING_ID,
    POSITIONS,
    TARGET_SPACE,
    TokenTable,
    TokenTables,
    body_names,
    describe,
    stored_shapes,
)
from slipway.checkpoints.tensor2tensor.location import find_checkpoint
from slipway.checkpoints.tensor2tensor.weights_file import open_weights
from slipway.errors import invalid, unsupported
from slipway.transformer.spec import Transformer
from slipway.transformer.weights import Array, Shape, Weights, check_complete, expected_shapes

_LOG: Final = logging.getLogger("slipway.checkpoints")
_PIECE: Final = re.compile(
    rf"({MODEL}/symbol_modality_(\d{{1,9}})_\d{{1,9}}/(shared|input_emb|target_emb|softmax))/weights_(\d{{1,6}})"
)
_IGNORABLE: Final = re.compile("|".join(IGNORABLE))
_SHOWN_IGNORED: Final = 3


@dataclass(frozen=True, slots=True)
class Tensor2TensorCheckpoint(Checkpoint):
    """A checkpoint with the step of its training, its token tables, and the names of what was ignored."""

    step: int
    tables: TokenTables
    ignored: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StoredModel:
    """The arrays of a checkpoint by their stored names, unread: those of the model, and the names of the others."""

    step: int
    arrays: Mapping[str, Array]
    ignored: tuple[str, ...]


def open_stored(checkpoint: Path) -> StoredModel:
    """Return the arrays of a checkpoint under tensor2tensor's names. `checkpoint` is a directory, prefix or file.

    Raise NOT_FOUND if there is no checkpoint, INVALID_ARG if its files are damaged or cut short.
    """
    files = find_checkpoint(checkpoint)
    arrays = open_weights(files.weights) if files.own else open_bundle(files.prefix)
    ignored = tuple(name for name in arrays if _IGNORABLE.fullmatch(name))
    if ignored:
        first = ", ".join(ignored[:_SHOWN_IGNORED])
        _LOG.info("'%s': %d arrays of training are ignored: %s, ...", files.prefix, len(ignored), first)
    kept = {name: array for name, array in arrays.items() if not _IGNORABLE.fullmatch(name)}
    return StoredModel(files.step, kept, ignored)


def read_tensor2tensor(
    checkpoint: Path, hparams: HParams, vocabulary_size: int | None = None
) -> Tensor2TensorCheckpoint:
    """Return the model in `checkpoint` (an output directory, a prefix or a file) without reading its arrays.

    `vocabulary_size` is that of the problem's vocabulary, if it is known. Raise UNSUPPORTED for hyper-parameters of
    networks that cannot be computed here, INVALID_ARG naming every missing, unused and misshapen array.
    """
    check_network(hparams)
    stored = open_stored(checkpoint)
    tables = find_tables(stored.arrays, str(checkpoint))
    if vocabulary_size is not None and tables.target.rows != vocabulary_size:
        raise invalid(
            f"'{checkpoint}' has {tables.target.rows} tokens, but the vocabulary has {vocabulary_size}: it belongs to "
            "another problem"
        )
    problems = list(_differences(stored_shapes(hparams, tables), stored.arrays))
    if problems:
        raise invalid(
            f"'{checkpoint}' is not the checkpoint that its hyper-parameters describe:\n  " + "\n  ".join(problems)
        )
    spec = describe(hparams, tables)
    weights = Weights(_canonical(spec, tables, hparams, stored.arrays))
    check_complete(spec, weights, f"'{checkpoint}'")
    return Tensor2TensorCheckpoint(str(checkpoint), spec, weights, stored.step, tables, stored.ignored)


def find_tables(stored: Mapping[str, Array], source: str) -> TokenTables:
    """Return the token tables of a checkpoint, found by their names.

    Raise INVALID_ARG if one is missing, UNSUPPORTED if several could be the same one.
    """
    pieces: dict[tuple[str, str, int], int] = {}
    for name in stored:
        if match := _PIECE.fullmatch(name):
            key = match[3], match[1], int(match[2])
            pieces[key] = max(pieces.get(key, 0), int(match[4]) + 1)
    tables: dict[str, TokenTable] = {}
    for (kind, scope, rows), count in pieces.items():
        if kind in tables:
            raise unsupported(
                f"'{source}' has two token tables, '{tables[kind].scope}' and '{scope}': it does not say which of them "
                "is the input's"
            )
        tables[kind] = TokenTable(scope, rows, count)
    return TokenTables(*(_table(tables, source, kind) for kind in ("input_emb", "target_emb", "softmax")))


def _table(tables: Mapping[str, TokenTable], source: str, kind: str) -> TokenTable:
    """Return the table of a kind, or else the shared one."""
    table = tables.get(kind) or tables.get("shared")
    if table is None:
        raise invalid(
            f"'{source}' does not have the token table {MODEL}/symbol_modality_<tokens>_<hidden>/{kind} (or shared): "
            "it is not a checkpoint of tensor2tensor's transformer"
        )
    return table


def _differences(expected: Mapping[str, Shape], stored: Mapping[str, Array]) -> Iterator[str]:
    for name, shape in expected.items():
        if name not in stored:
            yield f"missing: {name} {list(shape)}"
        elif _plain(stored[name].shape) != shape:
            yield f"{name} has shape {list(stored[name].shape)}, expected {list(shape)}"
    for name, array in stored.items():
        if name not in expected:
            yield f"unused: {name} {list(array.shape)}"


def _plain(shape: Shape) -> Shape:
    """Return a shape without the leading ones of earlier versions, whose dense layers were convolutions of width 1."""
    extra = max(len(shape) - 2, 0)
    return shape[extra:] if shape[:extra] == (1,) * extra else shape


def _canonical(
    spec: Transformer, tables: TokenTables, hparams: HParams, stored: Mapping[str, Array]
) -> dict[str, Array]:
    shapes = expected_shapes(spec)
    hidden = hparams.hidden_size
    readers: dict[str, Callable[[], np.ndarray]] = {
        "encoder.embedding.tokens": partial(_embedding, stored, tables.source, hidden),
        "head.weight": partial(_joined, stored, tables.head, hidden),
        "encoder.embedding.positions": partial(_positions, stored, hparams),
        "decoder.embedding.positions": partial(timing_signal, POSITIONS, hidden),
    }
    if not tables.shared:
        readers["decoder.embedding.tokens"] = partial(_embedding, stored, tables.target, hidden)
    for name, stored_name in body_names(spec).items():
        readers[name] = partial(_body, stored, stored_name)
    return {name: Array(shapes[name], read) for name, read in readers.items()}


def _body(stored: Mapping[str, Array], name: str) -> np.ndarray:
    array = _floats(stored, name)
    return array.reshape(_plain(array.shape)).T


def _embedding(stored: Mapping[str, Array], table: TokenTable, hidden: int) -> np.ndarray:
    """Return a token table whose padding row is zero."""
    tokens = _joined(stored, table, hidden)
    tokens[PADDING_ID] = 0
    return tokens


def _joined(stored: Mapping[str, Array], table: TokenTable, hidden: int) -> np.ndarray:
    return np.concatenate([_floats(stored, name) for name in table.shapes(hidden)])


def _positions(stored: Mapping[str, Array], hparams: HParams) -> np.ndarray:
    """Return the encoder's positions: every token also gets the vector of its target space, always the same one."""
    positions = timing_signal(POSITIONS, hparams.hidden_size)
    if hparams.use_target_space_embedding:
        positions += _floats(stored, TARGET_SPACE)[GENERIC_SPACE].astype(np.float32)
    return positions


def _floats(stored: Mapping[str, Array], name: str) -> np.ndarray:
    """Return an array of numbers that can be weights."""
    array = stored[name].read()
    if array.dtype.kind == "i":
        raise invalid(f"array '{name}' holds {array.dtype.name}, expected floating-point numbers")
    return array.astype(np.float32) if array.dtype == np.float64 else array
