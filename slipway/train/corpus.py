"""What a training reads: the pairs of one problem, and the vocabulary that they are written in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from slipway.train.pairs import PairSource


@dataclass(frozen=True, slots=True)
class Corpus:
    """The pairs of a problem. `vocabulary` counts its tokens; `decode` turns ids without the end token into text."""

    problem: str
    vocabulary: int
    train: PairSource
    dev: PairSource | None
    decode: Callable[[Iterable[int]], str] | None = None
