"""A network whose pages hold tokens instead of keys and values, and which chooses by all tokens that it finds there."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from slipway.transformer.paged.step import PagedStep

VOCABULARY = 50
NOTHING = -1


def follower(tokens: Sequence[int], memory: int = 1 << 30) -> int:
    """Return the token that follows `tokens`, by the last `memory` of them."""
    tokens = tokens[-memory:]
    return int.from_bytes(blake2b(repr(list(tokens)).encode(), digest_size=4).digest()) % VOCABULARY


def alone(prompt: Sequence[int], count: int, memory: int = 1 << 30) -> list[int]:
    """Return what a row generates alone."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(follower(tokens, memory))
    return tokens[len(prompt) :]


class FakeNetwork:
    """A `PagedNetwork`. Steps with a token in `broken` fail; after a token in `lost`, all scores are NaN."""

    def __init__(self, page_count: int, page_size: int = 4, memory: int = 1 << 30) -> None:
        self._memory = memory
        self.page_count = page_count
        self.page_size = page_size
        self.broken: set[int] = set()
        self.lost: set[int] = set()
        self.closed = False
        self.steps: list[int] = []  # the tokens of each step
        self._slots = np.full((page_count, page_size), NOTHING, np.int64)

    def run(self, step: PagedStep) -> np.ndarray:
        self.steps.append(len(step.tokens))
        if self.broken.intersection(step.tokens.tolist()):
            raise RuntimeError("this token is broken")
        assert len(set(self._written(step))) == len(step.tokens), "two tokens are written to the same place"
        scored = set(step.scored.tolist())
        scores = []
        for index in range(len(step.past)):
            begin, end = step.begins[index], step.begins[index + 1]
            pages = step.pages[step.page_begins[index] : step.page_begins[index + 1]]
            past = int(step.past[index])
            for place, token in enumerate(step.tokens[begin:end].tolist(), past):
                self._slots[pages[place // self.page_size], place % self.page_size] = token
            history = self._slots[pages].reshape(-1)[: past + end - begin].tolist()
            assert NOTHING not in history, "a token was never computed"
            scores += [self._scores(history[: past + at + 1 - begin]) for at in range(begin, end) if at in scored]
        return np.array(scores, np.float32).reshape(-1, VOCABULARY)

    def copy_pages(self, pairs: Sequence[tuple[int, int]]) -> None:
        sources, targets = {source for source, _ in pairs}, [target for _, target in pairs]
        assert sources.isdisjoint(targets)
        assert len(set(targets)) == len(targets)
        for source, target in pairs:
            self._slots[target] = self._slots[source]

    def close(self) -> None:
        self.closed = True

    def _scores(self, history: list[int]) -> np.ndarray:
        if self.lost.intersection(history):
            return np.full(VOCABULARY, np.nan)
        scores = np.zeros(VOCABULARY)
        scores[follower(history, self._memory)] = 20.0
        return scores

    def _written(self, step: PagedStep) -> list[tuple[int, int]]:
        return [
            (int(step.pages[step.page_begins[index] + place // self.page_size]), place % self.page_size)
            for index in range(len(step.past))
            for place in range(step.past[index], step.past[index] + step.begins[index + 1] - step.begins[index])
        ]
