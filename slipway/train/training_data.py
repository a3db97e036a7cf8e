"""What a training reads: the pairs of one problem, and the vocabulary that they are written in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from slipway.checkpoints.tensor2tensor.subwords import SubwordTextEncoder
from slipway.errors import Code, SlipwayError, invalid
from slipway.train.pairs import PairSource
from slipway.train.problems import TranslationProblem
from slipway.train.shards import Pair, Split, read_pairs, stored_sets


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The pairs of a problem. `vocabulary` counts its tokens; `decode` turns ids without the end token into text."""

    problem: str
    vocabulary: int
    train: PairSource
    dev: PairSource | None
    decode: Callable[[Iterable[int]], str] | None = None


def open_data(data_dir: Path, problem: TranslationProblem) -> TrainingData:
    """Return what `t2t-datagen` made of a problem; raise NOT_FOUND if its vocabulary or train shards are missing."""
    path = data_dir / problem.vocabulary_file
    try:
        encoder = SubwordTextEncoder.load(path)
    except SlipwayError as error:
        hint = "; t2t-datagen or --generate_data makes it" if error.code is Code.NOT_FOUND else ""
        raise SlipwayError(error.code, error.message + hint) from None
    size = encoder.vocabulary_size

    def read(split: Split) -> Iterator[Pair]:
        for inputs, targets in read_pairs(data_dir, problem, split):
            if (largest := max(inputs.max(), targets.max())) >= size:
                raise invalid(
                    f"the {split} data of '{problem.name}' in '{data_dir}' has the id {largest}, but '{path.name}' has "
                    f"{size} tokens: they do not belong together"
                )
            yield inputs, targets

    dev = (lambda: read("dev")) if stored_sets(data_dir, problem, "dev") else None
    return TrainingData(problem.full_name, size, lambda: read("train"), dev, encoder.decode)
