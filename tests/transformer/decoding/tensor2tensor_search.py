"""tensor2tensor's beam search as it was published: all rows of a batch in arrays, until every row is decided.

Written from the description of its steps, with the large negative number that it uses for what is impossible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tests.transformer.decoding.toy import Toy

IMPOSSIBLE = -1e7
END = 1


@dataclass(frozen=True)
class Search:
    beams: int
    alpha: float
    decode_length: int
    stop_early: bool  # as it sets for one returned beam

    def penalty(self, length: int) -> float:
        return ((5.0 + length) / 6.0) ** self.alpha


def beam_search(toys: Sequence[Toy], search: Search) -> list[list[tuple[float, tuple[int, ...]]]]:
    """Return (score, ids without the start id) of every row's beams, best first; without those it never filled."""
    rows, beams = len(toys), search.beams
    alive = np.zeros((rows, beams, 1), np.int64)
    alive_log_probs = np.full((rows, beams), IMPOSSIBLE)
    alive_log_probs[:, 0] = 0.0
    finished = np.zeros_like(alive)
    finished_scores = np.full((rows, beams), IMPOSSIBLE)
    flags = np.zeros((rows, beams), bool)
    step = 0
    while step < search.decode_length and not _is_decided(search, alive_log_probs, finished_scores):
        penalty = search.penalty(step + 1)
        following = np.array(
            [[toy.log_probabilities(ids) for ids in own] for toy, own in zip(toys, alive, strict=True)]
        )
        vocabulary = following.shape[-1]
        scores = ((following + alive_log_probs[:, :, None]) / penalty).reshape(rows, -1)
        top = np.argsort(-scores, axis=1, kind="stable")[:, : 2 * beams]
        top_scores = np.take_along_axis(scores, top, 1)
        parents = np.take_along_axis(alive, (top // vocabulary)[:, :, None], 1)
        grown = np.concatenate([parents, (top % vocabulary)[:, :, None]], 2)
        ended = grown[:, :, -1] == END
        kept = np.argsort(-(top_scores + ended * IMPOSSIBLE), axis=1, kind="stable")[:, :beams]
        alive = np.take_along_axis(grown, kept[:, :, None], 1)
        alive_log_probs = np.take_along_axis(top_scores, kept, 1) * penalty
        longer = np.concatenate([finished, np.zeros((rows, beams, 1), np.int64)], 2)
        pool = np.concatenate([longer, grown], 1)
        pool_scores = np.concatenate([finished_scores, top_scores + ~ended * IMPOSSIBLE], 1)
        pool_flags = np.concatenate([flags, ended], 1)
        best = np.argsort(-pool_scores, axis=1, kind="stable")[:, :beams]
        finished = np.take_along_axis(pool, best[:, :, None], 1)
        finished_scores, flags = np.take_along_axis(pool_scores, best, 1), np.take_along_axis(pool_flags, best, 1)
        step += 1
    return [
        _results(finished[row], finished_scores[row])
        if flags[row].any()
        else _results(alive[row], alive_log_probs[row] / search.penalty(step))
        for row in range(rows)
    ]


def _is_decided(search: Search, alive_log_probs: np.ndarray, finished_scores: np.ndarray) -> bool:
    bound = alive_log_probs[:, 0] / search.penalty(search.decode_length)
    if search.stop_early:
        return bool((finished_scores.max(1) > bound).all())
    return bool((finished_scores.min() > bound).all())


def _results(sequences: np.ndarray, scores: np.ndarray) -> list[tuple[float, tuple[int, ...]]]:
    pairs = zip(scores.tolist(), sequences[:, 1:].tolist(), strict=True)
    return [(score, _until_end(ids)) for score, ids in pairs if score > IMPOSSIBLE / 10]


def _until_end(ids: list[int]) -> tuple[int, ...]:
    return tuple(ids[: ids.index(END) + 1] if END in ids else ids)
