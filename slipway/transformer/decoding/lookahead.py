"""Guesses how a row goes on, from its own prompt and text, so that one step may compute several of its tokens.

What followed the last tokens where they came before may follow again: names, code, quotations (Yang et al. 2023,
"Inference with Reference"; Saxena 2023, prompt lookup decoding). A guess costs a share of a step and is never trusted:
the row chooses each token by the model's scores as it would without. How many tokens are guessed follows from how often
the row's guesses were right, and from the measured cost of a token. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Final

_RUN: Final = 3  # tokens that must have come before
_MOST_KNOWN: Final = 4096  # tokens of a prompt that are indexed, the last ones; they take 0.7 MiB
FIRST_SHARE: Final = 0.5  # of right guesses, before anything is known
_SURE: Final = 0.98  # of which no share is above
_MEMORY: Final = 8  # guesses: how quickly the share follows


class PromptLookup:
    """A growing sequence of tokens, and where each run of tokens came last."""

    def __init__(self, prompt: Sequence[int]) -> None:
        self._tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}  # run -> place of the token after it
        for token in prompt[-_MOST_KNOWN:]:
            self.append(token)

    def append(self, token: int) -> None:
        """Continue the sequence."""
        tokens = self._tokens
        if len(tokens) >= _RUN:
            self._after[tuple(tokens[-_RUN:])] = len(tokens)
        tokens.append(token)

    def guess(self, count: int) -> list[int]:
        """Return up to `count` tokens that may follow, none if the last tokens are new; a repetition goes
        on."""
        tokens = self._tokens
        place = self._after.get(tuple(tokens[-_RUN:]))
        if place is None:
            return []
        found = tokens[place : place + count]
        return [found[at % (len(tokens) - place)] for at in range(count)]


class Lookahead:
    """The guesses of one row: `draft` before a step, `observe` each token that is chosen."""

    def __init__(self, prompt: Sequence[int]) -> None:
        self._lookup = PromptLookup(prompt)
        self.share = FIRST_SHARE  # of guesses that were right

    def draft(self, cost: float, most: int) -> list[int]:
        """Return up to `most` tokens to compute with the newest one: those that are likely enough to be right, when one
        more token makes a step longer by the share `cost`."""
        count = min(most, worthwhile(self.share, cost))
        return self._lookup.guess(count) if count > 0 else []

    def observe(self, token: int) -> None:
        """Learn the next token; whether the guess was right is known even if it was not computed."""
        guessed = self._lookup.guess(1)
        if guessed:
            self.share += ((guessed[0] == token) - self.share) / _MEMORY
        self._lookup.append(token)


def worthwhile(share: float, cost: float) -> int:
    """Return how many guesses pay: token number n is right with probability `share` ** n, and must gain more than it
    costs."""
    if share <= 0.0 or cost >= share:
        return 0
    share = min(share, _SURE)
    return int(log(max(cost, 1e-9)) / log(share))
