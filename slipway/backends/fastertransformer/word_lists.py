"""Read bad and stop words as FasterTransformer's clients send them: [2, L], flat token ids over cumulative end offsets.

"No words" is [[0], [-1]]: offsets of -1 are padding. Words that cannot be generated have no effect and are left out.
Pure.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np

Words = tuple[tuple[int, ...], ...]

MAX_TOKENS: Final = 32768  # in the words of one row; each costs time at every step


class WordListError(ValueError):
    """A malformed list; the text says why."""


def read_words(array: np.ndarray, vocabulary: int) -> Words:
    """Return the words of one row, each once; raise `WordListError`.

    Source: FasterTransformer `stop_criteria_kernels.cu`, `ban_bad_words.cu`, which never find empty words and words
    with ids outside the vocabulary either.
    """
    if array.ndim != 2 or array.shape[0] != 2:
        raise WordListError(f"it has shape {list(array.shape)}, expected [2, length] for each row")
    ids, offsets = array
    ends = offsets[offsets >= 0]
    if (offsets[: len(ends)] < 0).any():
        raise WordListError("an end offset follows the padding (-1)")
    if len(ends) == 0:
        return ()
    if (np.diff(ends) < 0).any():
        raise WordListError("its end offsets, which are cumulative, decrease")
    used = int(ends[-1])
    if used > len(ids):
        raise WordListError(f"its last word ends at {used} of {len(ids)} token ids")
    if used > MAX_TOKENS:
        raise WordListError(f"it has {used} token ids, at most {MAX_TOKENS} are allowed")
    if (ids[:used] < 0).any():
        raise WordListError(f"it has the negative token id {int(ids[:used].min())}")
    flat, bounds = ids[:used].tolist(), [0, *ends.tolist()]
    words = (tuple(flat[start:end]) for start, end in pairwise(bounds) if end > start)
    return tuple(dict.fromkeys(word for word in words if max(word) < vocabulary))


def bannable(words: Words) -> Words:
    """Return the words that can be banned: FasterTransformer never bans token 0."""
    return tuple(word for word in words if word[-1] != 0)
