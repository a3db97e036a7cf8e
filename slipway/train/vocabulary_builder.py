"""Builds a subword vocabulary of about a given size from the counts of tokens, exactly as tensor2tensor does.

A vocabulary for a minimum count: four rounds, each of which cuts every token with the subtokens so far, counts all
substrings that begin at a cut, and keeps those that are frequent enough, the longest first; a kept one does not count
for its prefixes. The minimum count is found by bisection. Source: text_encoder.py, `build_to_target_size`. Each token
is looked at once for all its occurrences, and as arrays (`substring_index`). Knows no files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from slipway.checkpoints.tensor2tensor.escaping import ESCAPE_CHARACTERS, escaper, tokenize
from slipway.checkpoints.tensor2tensor.subwords import RESERVED
from slipway.errors import invalid
from slipway.train.substring_index import Level, Words, substring_levels

ROUNDS: Final = 4
LEAST_COUNT: Final = 1
MOST_COUNT: Final = 1000
LONGEST_TOKEN: Final = 1000  # characters; longer ones, which have quadratically many substrings, only give characters


def count_tokens(lines: Iterable[str]) -> Counter[str]:
    """Return how often each token occurs in lines of text."""
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(tokenize(line))
    return counts


def build_vocabulary(counts: Mapping[str, int], size: int) -> list[str]:
    """Return the subtokens in the order of their ids, `<pad>` and `<EOS>` first: `size` of them within 1 %, or as near
    as a minimum count from 1 to 1000 gets."""
    if not counts:
        raise invalid("a vocabulary cannot be built from a text without words")
    if size < 1:
        raise invalid(f"the size of a vocabulary is {size}, expected 1 or more")
    search = _Search(_Corpus.of(counts), size)
    return search.corpus.subtokens(search.bisect(LEAST_COUNT, MOST_COUNT))


@dataclass(frozen=True, slots=True)
class _Subtokens:
    """One vocabulary: which substrings of each level it has, with the counts that they were kept for."""

    kept: tuple[np.ndarray, ...]  # bool, by level
    counts: tuple[np.ndarray, ...]  # int64, by level
    levels: Sequence[Level]


class _Corpus:
    """The escaped tokens, with the substrings that occur at least as often as asked for so far."""

    def __init__(self, words: Words, alphabet: frozenset[str]) -> None:
        self._words = words
        self.alphabet = alphabet
        self._levels: Sequence[Level] = ()
        self._floor = 0

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> _Corpus:
        alphabet = frozenset().union(*counts, *RESERVED) | ESCAPE_CHARACTERS
        spelled = escaper(alphabet)
        usual = {spelled(token): count for token, count in counts.items() if len(token) <= LONGEST_TOKEN}
        return cls(Words.of(usual), alphabet)

    def size(self, vocabulary: _Subtokens) -> int:
        """Return the number of subtokens, with the alphabet and the reserved ones."""
        return len(RESERVED) + len(self.alphabet) + sum(int(kept.sum()) for kept in vocabulary.kept[1:])

    def vocabulary(self, least: int) -> _Subtokens:
        """Return the vocabulary for a minimum count."""
        if not self._levels or least < self._floor:
            self._levels, self._floor = substring_levels(self._words, least), least
        lengths = np.ones(len(self._words.text), np.int32)  # at first every character is a subtoken
        for number in range(ROUNDS):
            counts = self._counts(self._cuts(lengths))
            vocabulary = self._kept(counts, least)
            if number < ROUNDS - 1:
                lengths = self._longest(vocabulary)
        return vocabulary

    def subtokens(self, vocabulary: _Subtokens) -> list[str]:
        """Return the subtokens by descending count, and descending themselves where counts are equal."""
        text, found = self._words.text, []
        frequency = dict.fromkeys(self.alphabet, 0)
        for length, (level, kept, counts) in enumerate(
            zip(vocabulary.levels, vocabulary.kept, vocabulary.counts, strict=True), 1
        ):
            chosen = slice(None) if length == 1 else kept
            pairs = zip(counts[chosen].tolist(), level.examples[chosen].tolist(), strict=True)
            names = [(count, text[at : at + length]) for count, at in pairs]
            if length == 1:
                frequency.update((name, count) for count, name in names)
            else:
                found += names
        found += [(count, name) for name, count in frequency.items()]
        return [*RESERVED, *(name for _, name in sorted(found, reverse=True))]

    def _cuts(self, lengths: np.ndarray) -> np.ndarray:
        """Return where subtokens begin, bool by position, given the length of the one at each position."""
        cuts = np.zeros(len(lengths), np.bool_)
        at = self._words.starts
        while at.size:
            cuts[at] = True
            following = at + lengths[at]
            at = following[following < self._words.ends[at]]
        return cuts

    def _counts(self, cuts: np.ndarray) -> list[np.ndarray]:
        """Return how often each substring of each level begins at a cut, int64."""
        weights = np.where(cuts, self._words.weights, 0.0)
        return [
            np.bincount(level.numbers, weights[level.places], level.size).astype(np.int64) for level in self._levels
        ]

    def _kept(self, counts: list[np.ndarray], least: int) -> _Subtokens:
        """Return the substrings to keep, the longest first: the count of a kept one is taken from all its prefixes."""
        kept: list[np.ndarray] = []
        taken = np.zeros(self._levels[-1].size, np.int64)
        for level, count in zip(reversed(self._levels), reversed(counts), strict=True):
            np.subtract(count, taken, out=count)
            kept.append(count >= least)
            taken += np.where(kept[-1], count, 0)
            if len(kept) < len(counts):
                above = self._levels[len(counts) - len(kept) - 1].size
                taken = np.bincount(level.parents, taken, above).astype(np.int64)
        return _Subtokens(tuple(reversed(kept)), tuple(counts), self._levels)

    def _longest(self, vocabulary: _Subtokens) -> np.ndarray:
        """Return the length of the longest subtoken that begins at each position."""
        lengths = np.ones(len(self._words.text), np.int32)
        for length, (level, kept) in enumerate(zip(self._levels[1:], vocabulary.kept[1:], strict=True), 2):
            lengths[level.places[kept[level.numbers]]] = length
        return lengths


@dataclass(frozen=True, slots=True)
class _Search:
    """The bisection for the minimum count."""

    corpus: _Corpus
    size: int

    def bisect(self, low: int, high: int) -> _Subtokens:
        """Return the vocabulary nearest to the size for a minimum count from `low` to `high`, of equals the first."""
        middle = (low + high) // 2
        found = self.corpus.vocabulary(middle)
        distance = self.corpus.size(found) - self.size
        if abs(distance) * 100 < self.size or low >= high or middle < 2:
            return found
        other = self.bisect(middle + 1, high) if distance > 0 else self.bisect(low, middle - 1)
        return other if abs(self.corpus.size(other) - self.size) < abs(distance) else found
