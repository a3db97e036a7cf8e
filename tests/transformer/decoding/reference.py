"""Slow and obvious decoders in plain numpy to compare with: every continuation of every hypothesis is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from slipway.transformer.generation import Decoding
from tests.transformer.decoding.toy import Toy

END = 1


class Scored(NamedTuple):
    score: float
    ids: tuple[int, ...]


def everything(toy: Toy, longest: int) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every sequence that ends, or is `longest` tokens long, with its log-probability."""
    open_ = [((), 0.0)]
    for length in range(1, longest + 1):
        following = []
        for ids, total in open_:
            for token, figure in enumerate(toy.log_probabilities((0, *ids))):
                grown = ((*ids, token), total + figure)
                if token == END or length == longest:
                    yield grown
                else:
                    following.append(grown)
        open_ = following


def ranked(entries: list[Scored]) -> list[Scored]:
    return sorted(entries, key=lambda entry: -entry.score)


def continuations(
    toy: Toy, beam: list[Scored], score: Callable[[float, int], float], first: int, listed: int
) -> list[tuple[float, float, tuple[int, ...]]]:
    """(selection score, sum, ids) of all continuations; `score` sees the sum and the place among the siblings."""
    found = []
    for total, ids in beam:
        figures = toy.log_probabilities((0, *ids))
        order = sorted(range(len(figures)), key=lambda token: -figures[token])[:listed]
        found += [
            (score(total + figures[token], place), total + figures[token], (*ids, token))
            for place, token in enumerate(order, first)
        ]
    return sorted(found, reverse=True)


def hugging_face(toy: Toy, decoding: Decoding) -> list[Scored]:
    width, rate, alpha = decoding.beam_width, decoding.diversity, decoding.length_penalty
    beam, pool = [Scored(0.0, ())], []
    for length in range(1, decoding.max_tokens + 1):
        found = continuations(toy, beam, lambda total, place: total + rate * place, 0, 2 * width)[: 2 * width]
        last = length == decoding.max_tokens
        pool += [Scored(total / length**alpha, ids) for _, total, ids in found[:width] if ids[-1] == END or last]
        pool = ranked(pool)[:width]
        beam = [Scored(total, ids) for _, total, ids in found if ids[-1] != END][:width]
        full = len(pool) == width
        if full and (decoding.early_stopping or beam[0].score / length**alpha <= pool[-1].score):
            break
    return pool


def lightseq(toy: Toy, decoding: Decoding) -> list[Scored]:
    width, rate, alpha = decoding.beam_width, decoding.diversity, decoding.length_penalty
    alive, ended = [Scored(0.0, ())], []
    for length in range(1, decoding.max_tokens):
        norm = ((5 + length) / 6) ** -alpha if alpha >= 0 else 1.0
        found = continuations(toy, alive, lambda total, place, norm=norm: total * norm - rate * place, 1, width)
        entries = [(score, total, ids, None) for score, total, ids in found]
        entries += [(score - rate, 0.0, ids, score) for score, ids in ended]
        kept = sorted(entries, key=lambda entry: -entry[0])[:width]
        ended = [Scored(frozen, ids) for *_, ids, frozen in kept if frozen is not None]
        ended += [Scored(total * norm, ids) for _, total, ids, frozen in kept if frozen is None and ids[-1] == END]
        alive = [Scored(total, ids) for _, total, ids, frozen in kept if frozen is None and ids[-1] != END]
        if not alive:
            break
    results = ended + [Scored(total * norm, (*ids, END)) for total, ids in alive]
    if alpha < 0:
        forced = {ids for _, ids in alive}
        results = [
            Scored(toy.total((0,), ids[:-1] if ids[:-1] in forced else ids) / max(1, len(ids) - 1), ids)
            for _, ids in results
        ]
    return ranked(results)


def tensor2tensor(toy: Toy, decoding: Decoding) -> list[Scored]:
    width, alpha = decoding.beam_width, decoding.length_penalty
    beam, pool = [Scored(0.0, ())], []
    for length in range(1, decoding.max_tokens + 1):
        norm = ((5 + length) / 6) ** alpha
        found = continuations(toy, beam, lambda total, _, norm=norm: total / norm, 0, 2 * width)[: 2 * width]
        pool = ranked(pool + [Scored(score, ids) for score, _, ids in found if ids[-1] == END])[:width]
        beam = [Scored(total, ids) for _, total, ids in found if ids[-1] != END][:width]
        if pool and pool[0].score > beam[0].score / ((5 + decoding.max_tokens) / 6) ** alpha:
            break
    return pool or [Scored(total / norm, ids) for total, ids in beam]
