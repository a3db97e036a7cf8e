"""Makes a problem's data: vocabulary, then shards of encoded pairs, in memory that does not grow with the corpus.

Pairs are dealt to `-unshuffled` shards in turn, and each of those is then written in random order. Every file appears
under its final name when it is complete, so what is there is kept.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Final

import numpy as np

from slipway.checkpoints.tensor2tensor.example import encode_example
from slipway.checkpoints.tensor2tensor.records import RecordWriter
from slipway.checkpoints.tensor2tensor.subwords import END_ID, SubwordTextEncoder
from slipway.errors import invalid, not_found
from slipway.train.corpora import Progress, TextFiles, find_corpora, make_directory
from slipway.train.problems import MAX_SHARDS, TranslationProblem
from slipway.train.shards import Split, shard_names, stored_sets
from slipway.train.shuffling import shuffle_records
from slipway.train.text_pairs import PairCount, text_pairs
from slipway.train.vocabulary_builder import build_vocabulary, count_tokens

_LOG: Final = logging.getLogger("slipway.train")
UNSHUFFLED: Final = "-unshuffled"
DEFAULT_SEED: Final = 429459  # t2t-datagen's own
_VOCABULARY_BYTES: Final = 32 << 20  # of text that a vocabulary is built from, per file
_STEP: Final = 1000  # pairs between two reports of progress


@dataclass(frozen=True, slots=True)
class DatagenOptions:
    """Where the data is and goes. `shards` 0: the problem's own number. `max_pairs` 0: all pairs of a split."""

    data_dir: Path
    tmp_dir: Path
    shards: int = 0
    seed: int = DEFAULT_SEED
    max_pairs: int = 0


@dataclass(frozen=True, slots=True)
class GeneratedSplit:
    """What was made of a split; `pairs` is None if its shards were there already."""

    split: Split
    files: tuple[Path, ...]
    pairs: int | None = None
    blank: int = 0  # pairs that were left out because a side is blank


@dataclass(frozen=True, slots=True)
class GeneratedData:
    """A problem's data: its vocabulary and its splits."""

    vocabulary: Path
    vocabulary_size: int
    splits: tuple[GeneratedSplit, ...]


def generate_data(
    problem: TranslationProblem, options: DatagenOptions, progress: Progress | None = None
) -> GeneratedData:
    """Make what is missing of a problem's data. The files are the same for a problem and its `_rev` form.

    Raise NOT_FOUND for missing text or vocabulary, UNAVAILABLE if a download or a full disk stops it, INVALID_ARG with
    file and line for damaged text, and if the data is there in another number of shards.
    """
    return _Generation(problem, options, progress or _silent).run()


def _silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True, slots=True)
class _Generation:
    """One run."""

    problem: TranslationProblem
    options: DatagenOptions
    progress: Progress

    def run(self) -> GeneratedData:
        make_directory(self.options.data_dir)
        counts: dict[Split, int] = {"train": self._shards(), "dev": self.problem.dev_shards}
        present = {split: self._present(split, count) for split, count in counts.items()}
        files = {split: self._text_files(split) for split in counts if not present[split]}
        vocabulary = self.options.data_dir / self.problem.vocabulary_file
        if not vocabulary.is_file():
            if len(files) < len(counts):
                raise not_found(
                    f"vocabulary '{vocabulary}' does not exist, but shards that were made with it do: put it back, or "
                    "remove them"
                )
            self._make_vocabulary(vocabulary, files["train"])
        encoder = SubwordTextEncoder.load(vocabulary)
        splits = []
        for split, count in counts.items():
            if split in files:
                splits.append(self._generate(split, count, encoder, files[split]))
            else:
                _LOG.info("%d %s shards of '%s' are there already", count, split, self.problem.name)
                splits.append(GeneratedSplit(split, present[split]))
        return GeneratedData(vocabulary, encoder.vocabulary_size, tuple(splits))

    def _shards(self) -> int:
        count = self.options.shards or self.problem.train_shards
        if not 1 <= count <= MAX_SHARDS:
            raise invalid(f"the number of shards is {count}, expected 1 to {MAX_SHARDS}")
        return count

    def _present(self, split: Split, count: int) -> tuple[Path, ...]:
        """Return the shards of a split if all of them are there, or else (), also if an earlier run was stopped."""
        directory, name = self.options.data_dir, self.problem.name
        sets = stored_sets(directory, self.problem, split)
        others = sorted(set(sets) - {count})
        if others:
            raise invalid(
                f"'{directory}' has {split} data of '{name}' in {others[0]} shards, but {count} are requested: remove "
                "those, or request their number"
            )
        complete = len(sets.get(count, ())) == count
        return tuple(directory / each for each in shard_names(self.problem, split, count)) if complete else ()

    def _text_files(self, split: Split) -> list[TextFiles]:
        """Return the text of a split: what tensor2tensor compiled in the temporary directory, or else the corpora."""
        problem, tmp_dir = self.problem, self.options.tmp_dir
        source, target = (tmp_dir / f"{problem.name}-compiled-{split}.lang{side}" for side in (1, 2))
        if source.is_file() and target.is_file():
            _LOG.info("reading '%s' and '%s', which tensor2tensor compiled", source, target)
            return [(source, target)]
        return find_corpora(problem, problem.train if split == "train" else problem.dev, tmp_dir, self.progress)

    def _make_vocabulary(self, path: Path, files: Sequence[TextFiles]) -> None:
        counts = count_tokens(self._sample(files))
        size = self.problem.approximate_size
        _LOG.info("building a vocabulary of about %d subtokens from %d different tokens", size, len(counts))
        SubwordTextEncoder(build_vocabulary(counts, size)).save(path)

    def _sample(self, files: Sequence[TextFiles]) -> Iterator[str]:
        """Yield both sides of pairs that are evenly spread over each corpus, so that a side has about
        `_VOCABULARY_BYTES` at most."""
        read = 0
        for pair in files:
            step = max(path.stat().st_size for path in pair) // _VOCABULARY_BYTES + 1
            for number, sides in enumerate(text_pairs([pair])):
                if number % step == 0:
                    yield from sides
                read += 1
                if read % _STEP == 0:
                    self.progress("pairs for the vocabulary", read, 0)

    def _generate(
        self, split: Split, count: int, encoder: SubwordTextEncoder, files: Sequence[TextFiles]
    ) -> GeneratedSplit:
        """Write the shards of a split."""
        directory, name = self.options.data_dir, self.problem.name
        unshuffled = shard_names(replace(self.problem, name=name + UNSHUFFLED), split, count)
        sources = [directory / each for each in unshuffled]
        targets = [directory / each for each in shard_names(self.problem, split, count)]
        pairs = PairCount()
        try:
            chosen = islice(text_pairs(files, pairs), self.options.max_pairs or None)
            _write_in_turn(sources, self._encoded(split, encoder, chosen))
            if pairs.read == pairs.blank:
                raise invalid(f"the {split} text of '{name}' does not have a pair: a side of each line is blank")
            for index, (source, target) in enumerate(zip(sources, targets, strict=True)):
                shuffle_records(source, target, np.random.default_rng([self.options.seed, index]))
                source.unlink()
                self.progress(f"{split} shards shuffled", index + 1, count)
        finally:
            for source in sources:
                source.unlink(missing_ok=True)
        return GeneratedSplit(split, tuple(targets), pairs.read - pairs.blank, pairs.blank)

    def _encoded(self, split: Split, encoder: SubwordTextEncoder, pairs: Iterator[tuple[str, str]]) -> Iterator[bytes]:
        for number, (source, target) in enumerate(pairs, 1):
            inputs, targets = encoder.encode(source), encoder.encode(target)
            yield encode_example({"inputs": [*inputs, END_ID], "targets": [*targets, END_ID]})
            if number % _STEP == 0:
                self.progress(f"{split} pairs encoded", number, 0)


def _write_in_turn(paths: Sequence[Path], examples: Iterator[bytes]) -> None:
    """Deal examples to files, one to each in turn."""
    with ExitStack() as stack:
        writers = [stack.enter_context(RecordWriter(path)) for path in paths]
        for example, writer in zip(examples, cycle(writers), strict=False):
            writer.write(example)
