"""Small whole numbers in the words of an array. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

WORD: Final = 32  # bits


def unpacked(words: np.ndarray, bits: int, axis: int, order: Sequence[int] | None = None) -> np.ndarray:
    """Return the numbers in int32 `words` as uint8, `32 // bits` times as many along `axis`.

    The first number of a word is in its lowest bits; with an `order`, number i is in place `order[i]`.
    """
    per_word = WORD // bits
    places = np.arange(per_word) if order is None else np.asarray(order)
    shifts = (places * bits).astype(np.uint32)
    moved = np.moveaxis(words.view(np.uint32), axis, -1)
    numbers = ((moved[..., None] >> shifts) & np.uint32((1 << bits) - 1)).astype(np.uint8)
    return np.moveaxis(numbers.reshape(*moved.shape[:-1], moved.shape[-1] * per_word), -1, axis)
