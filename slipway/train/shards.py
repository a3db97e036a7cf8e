"""The shards of a problem's data: their names, and the pairs of ids in them. Knows records, not text."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import numpy as np

from slipway.checkpoints.tensor2tensor.example import decode_example
from slipway.checkpoints.tensor2tensor.records import read_records
from slipway.checkpoints.tensor2tensor.subwords import END_ID
from slipway.errors import SlipwayError, invalid, not_found
from slipway.train.problems import TranslationProblem

Split = Literal["train", "dev"]
Pair = tuple[np.ndarray, np.ndarray]
_MAX_ID: Final = 1 << 31


def shard_names(problem: TranslationProblem, split: Split, count: int) -> list[str]:
    """Return the file names of all shards of a split, as tensor2tensor calls them."""
    return [f"{problem.name}-{split}-{index:05}-of-{count:05}" for index in range(count)]


def shard_files(data_dir: Path, problem: TranslationProblem, split: Split) -> list[Path]:
    """Return the shards of a split in order.

    Raise NOT_FOUND naming those that are missing, INVALID_ARG if there are several sets.
    """
    sets = stored_sets(data_dir, problem, split)
    if not sets:
        raise not_found(
            f"'{data_dir}' does not have {split} data of problem '{problem.name}' "
            f"({shard_names(problem, split, problem.train_shards)[0]} ...): run t2t-datagen first"
        )
    if len(sets) > 1:
        counts = " and ".join(str(count) for count in sorted(sets))
        raise invalid(
            f"'{data_dir}' has {split} data of problem '{problem.name}' in {counts} shards: remove one of them"
        )
    [(count, found)] = sets.items()
    missing = [name for name in shard_names(problem, split, count) if name not in found]
    if missing:
        raise not_found(f"'{data_dir}' lacks {len(missing)} of {count} shards: {', '.join(missing[:4])}")
    return [data_dir / name for name in shard_names(problem, split, count)]


def stored_sets(data_dir: Path, problem: TranslationProblem, split: Split) -> dict[int, set[str]]:
    """Return the shards that are in a directory, complete or not, by the number of shards in their names."""
    pattern = re.compile(rf"{re.escape(problem.name)}-{split}-\d{{5}}-of-(\d{{5}})")
    sets: dict[int, set[str]] = defaultdict(set)
    for path in data_dir.iterdir() if data_dir.is_dir() else ():
        if match := pattern.fullmatch(path.name):
            sets[int(match[1])].add(path.name)
    return dict(sets)


def read_pairs(data_dir: Path, problem: TranslationProblem, split: Split) -> Iterator[Pair]:
    """Yield inputs and targets of all shards, int32, each ending with `END_ID`; in a `_rev` problem they are swapped.

    Raise INVALID_ARG with file and record if the data is damaged.
    """
    for path in shard_files(data_dir, problem, split):
        yield from read_shard(path, reverse=problem.reverse)


def read_shard(path: Path, *, reverse: bool = False) -> Iterator[Pair]:
    """Yield inputs and targets of one shard."""
    for number, record in enumerate(read_records(path), 1):
        try:
            features = decode_example(record)
            inputs, targets = (_ids(features, name) for name in ("inputs", "targets"))
        except SlipwayError as error:
            raise invalid(f"'{path}', record {number}: {error.message}") from None
        yield (targets, inputs) if reverse else (inputs, targets)


def _ids(features: dict[str, list[int]], name: str) -> np.ndarray:
    ids = features.get(name)
    if not ids:
        raise invalid(f"the example does not have '{name}'; it has {', '.join(sorted(features)) or 'nothing'}")
    if ids[-1] != END_ID:
        raise invalid(f"'{name}' ends in {ids[-1]}, expected {END_ID}, the end of a sentence")
    if min(ids) < 0 or max(ids) >= _MAX_ID:
        raise invalid(f"'{name}' has the id {min(ids) if min(ids) < 0 else max(ids)}, which is not a token")
    return np.array(ids, np.int32)
