"""LightSeq's beam search by brute force: every hypothesis with every token, sorted; and all possible sequences.

The tests' own reference for small vocabularies. A function returns the log-probabilities of the token after a prefix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Following = Callable[[tuple[int, ...]], np.ndarray]


@dataclass(frozen=True)
class Rules:
    """The order of hypotheses. `columns` is the width of the output; its last column is for the end token."""

    width: int
    columns: int
    end_id: int
    penalty: float = 0.0
    diversity: float = 0.0

    def score(self, total: float, length: int) -> float:
        """Return the score of a hypothesis of `length` tokens during the search."""
        return total if self.penalty < 0 else total / ((5 + length) / 6) ** self.penalty

    def result(self, ids: tuple[int, ...], total: float, score: float) -> tuple[tuple[int, ...], float]:
        """Return the padded ids and the final score."""
        if self.penalty < 0:
            score = total / max(1, sum(token != self.end_id for token in ids))
        return (*ids, *[self.end_id] * (self.columns - len(ids))), score


def beam_search(following: Following, rules: Rules) -> list[tuple[tuple[int, ...], float]]:
    """Return the beam's hypotheses, best first, as (ids padded to all columns, score)."""
    beam: list[tuple[tuple[int, ...], float, float]] = [((), 0.0, 0.0)]  # ids, log-probability, score
    for length in range(1, rules.columns):
        candidates = []
        for ids, total, score in beam:
            if ids[-1:] == (rules.end_id,):
                candidates.append((score - rules.diversity, ids, total, score))
                continue
            grown = [(total + float(figure), (*ids, token)) for token, figure in enumerate(following(ids))]
            grown.sort(reverse=True)
            for rank, (new_total, new_ids) in enumerate(grown, 1):
                new_score = rules.score(new_total, length)
                candidates.append((new_score - rules.diversity * rank, new_ids, new_total, new_score))
        candidates.sort(key=lambda candidate: -candidate[0])
        beam = [(ids, total, score) for _, ids, total, score in candidates[: rules.width]]
        if all(ids[-1] == rules.end_id for ids, _, _ in beam):
            break
    results = [rules.result(ids, total, score) for ids, total, score in beam]
    return sorted(results, key=lambda result: -result[1])


def every_sequence(following: Following, rules: Rules) -> list[tuple[tuple[int, ...], float]]:
    """Return the best `width` of all sequences of at most `columns` - 1 tokens, as `beam_search` does."""
    ended: list[tuple[tuple[int, ...], float]] = []
    growing: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    for _ in range(rules.columns - 1):
        grown = [
            ((*ids, token), total + float(figure))
            for ids, total in growing
            for token, figure in enumerate(following(ids))
        ]
        ended += [entry for entry in grown if entry[0][-1] == rules.end_id]
        growing = [entry for entry in grown if entry[0][-1] != rules.end_id]
    results = [rules.result(ids, total, rules.score(total, len(ids))) for ids, total in ended + growing]
    return sorted(results, key=lambda result: -result[1])[: rules.width]
