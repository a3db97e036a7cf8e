"""All substrings of a set of words that occur often enough, numbered level by level (by length), as arrays.

Level L lists the places at which a kept substring of length L begins, and the number of that substring. A substring is
kept if it and so all of its prefixes occur `floor` times, with the words' weights; level 1 has every character. This
makes what `vocabulary_builder` does with each substring of each word a few operations on arrays. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from slipway.errors import invalid

_MAX_PLACES: Final = 1 << 28  # in all levels together: 2 GiB


@dataclass(frozen=True, slots=True)
class Level:
    """The kept substrings of one length.

    `places` int32 [n] are the positions where one begins, `numbers` int32 [n] which one it is; `parents` int32 [m] is
    the number of each one's longest proper prefix in the level before, `examples` int32 [m] one of its places.
    """

    places: np.ndarray
    numbers: np.ndarray
    parents: np.ndarray
    examples: np.ndarray

    @property
    def size(self) -> int:
        """How many different substrings there are."""
        return len(self.parents)


@dataclass(frozen=True, slots=True)
class Words:
    """Words one after another. `starts` int32 [words] is where each begins; per position: the characters' numbers, the
    end and the weight of the word."""

    text: str
    characters: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> Words:
        """Return words that are given with their weights."""
        text = "".join(counts)
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        lengths = np.fromiter(map(len, counts), np.int64, len(counts))
        ends = np.cumsum(lengths)
        if len(text) >= 1 << 31:
            raise invalid("the different words of the text have more than 2**31 characters; give less text")
        _, characters = np.unique(codes, return_inverse=True)
        return cls(
            text,
            characters.astype(np.int32),
            (ends - lengths).astype(np.int32),
            np.repeat(ends, lengths).astype(np.int32),
            np.repeat(np.fromiter(counts.values(), np.float64, len(counts)), lengths),
        )


def substring_levels(words: Words, floor: int) -> Sequence[Level]:
    """Return the levels of all substrings that occur at least `floor` times, the shortest first.

    Raise INVALID_ARG if they are too many for memory: words are long, such as those of a text without spaces.
    """
    places = np.arange(len(words.text), dtype=np.int32)
    numbers, examples, parents = _numbered(words.characters.astype(np.int64))
    levels = [Level(places, numbers, np.zeros_like(parents), examples)]
    alphabet = int(words.characters.max(initial=0)) + 1
    total = places.size
    while places.size:
        level, length = levels[-1], len(levels)
        often = np.bincount(level.numbers, words.weights[level.places], level.size) >= floor
        kept = often[level.numbers] & (level.places + length < words.ends[level.places])
        places = level.places[kept]
        if not places.size:
            break
        total += places.size
        if total > _MAX_PLACES:
            raise invalid("the text has too many different substrings to count: give less of it")
        keys = level.numbers[kept].astype(np.int64) * alphabet + words.characters[places + length]
        numbers, first, values = _numbered(keys)
        levels.append(Level(places, numbers, (values // alphabet).astype(np.int32), places[first]))
    return levels


def _numbered(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the number of each key among the different ones, the first place of each of those, and their values."""
    values, first, numbers = np.unique(keys, return_index=True, return_inverse=True)
    return numbers.astype(np.int32), first.astype(np.int32), values
