"""A grammar leaves a row only what it allows: in greedy search, sampling and beams, beside rows without one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
import torch

from slipway.transformer.decoding.grammar_mask import GrammarMask
from slipway.transformer.generation import Decoding, Search, TransformersRules
from tests.transformer.decoding.toy import Constant, Toy, decode, decode_all

VOCABULARY = 8
END = 1


class Listed:
    """A grammar of a few sequences of tokens."""

    def __init__(self, *texts: Sequence[int], begun: Sequence[int] = ()) -> None:
        self._texts = texts
        self._begun = tuple(begun)
        self.failure = ""

    def begin(self) -> Listed:
        return Listed(*self._texts)

    def allowed(self) -> np.ndarray:
        found = np.zeros(VOCABULARY, np.bool_)
        length = len(self._begun)
        for text in self._texts:
            if tuple(text[:length]) == self._begun:
                found[text[length] if length < len(text) else END] = True
        return found

    def accept(self, token: int) -> None:
        assert self.allowed()[token]
        self._begun = (*self._begun, token)

    def copy(self) -> Listed:
        return Listed(*self._texts, begun=self._begun)


def row(grammar: Listed | None = None, rules: dict | None = None, **settings) -> Decoding:
    return Decoding(**{"max_tokens": 6, **settings}, rules=TransformersRules((END,), grammar=grammar, **(rules or {})))


TEXTS = [(2, 3), (2, 4, 5), (6,), (7, 7, 7, 7)]


def test_greedy_search_follows_the_best_allowed_token():
    toy = Toy(3, VOCABULARY)
    (found,) = decode(row(Listed(*TEXTS)), toy)
    expected: list[int] = []
    while not expected or expected[-1] != END:
        state = Listed(*TEXTS, begun=expected)
        scores = np.where(state.allowed(), toy.scores((0, *expected)), -np.inf)
        expected.append(int(scores.argmax()))
    assert list(found.ids) == expected


def test_rows_without_a_grammar_are_not_affected_by_their_neighbours():
    toys = [Toy(seed, VOCABULARY) for seed in range(4)]
    rows = [row(Listed(*TEXTS)), row(), Decoding(6), row(Listed((5, 5)), top_k=3, seed=2)]
    together = decode_all(rows, toys)
    alone = [decode(each, toy) for each, toy in zip(rows, toys, strict=True)]
    assert together == alone
    assert together[3][0].ids == (5, 5, END)


def test_beams_find_the_best_of_all_texts():
    toy = Toy(5, VOCABULARY)
    beams = row(Listed(*TEXTS), search=Search.HUGGING_FACE, beam_width=4, length_penalty=0.0)
    found = decode(beams, toy)
    totals = {(*text, END): toy.total((0,), (*text, END)) for text in TEXTS}
    best = sorted(totals, key=lambda ids: -totals[ids])
    assert [each.ids for each in found] == best
    assert [each.log_probability for each in found] == pytest.approx([totals[ids] for ids in best], abs=1e-5)


def test_a_sample_has_the_distribution_of_the_allowed_tokens():
    given = [0.0, 0.5, 1.0, -0.5, 0.3, 2.0, 0.0, 1.5]
    toy = Constant(0, VOCABULARY, given=given)
    count = 1500
    rows = [row(Listed((2,), (3,), (5,), ()), top_p=1.0, seed=seed, max_tokens=1) for seed in range(count)]
    drawn = Counter(found[0].ids[0] for found in decode_all(rows, [toy] * count))
    shares = np.exp([given[token] for token in (1, 2, 3, 5)])
    expected = shares / shares.sum() * count
    statistic = sum((drawn[token] - mean) ** 2 / mean for token, mean in zip((1, 2, 3, 5), expected, strict=True))
    assert sum(drawn.values()) == count
    assert statistic < 16.3  # 99.9 % of chi-squared with 3 degrees of freedom


def test_where_other_rules_leave_nothing_the_grammar_wins_by_the_models_own_scores():
    given = [0.0, 9.0, 1.0, 3.0, 2.0, 0.0, 0.0, 0.0]
    banned = {"suppress_tokens": (2, 3)}
    (found,) = decode(row(Listed((2,), (3,)), banned, min_tokens=5), Constant(0, VOCABULARY, given=given))
    assert found.ids == (3, END)


def test_forced_first_tokens_are_no_part_of_the_text():
    (found,) = decode(row(Listed((2, 2)), forced=(7, 6)), Toy(1, VOCABULARY))
    assert found.ids == (7, 6, 2, 2, END)


def test_every_combination_of_three_beams_keeps_its_own_state():
    texts = [*product((2, 3), (4, 5), (6, 7))]
    mask = GrammarMask(Listed(*texts), 0)
    scores = torch.zeros(1, VOCABULARY)
    mask.apply(scores, scores, [()])
    mask.apply(torch.zeros(2, VOCABULARY), scores, [(2,), (3,)])
    left = mask.apply(torch.zeros(4, VOCABULARY), scores, [(3, 4), (2, 4), (2, 5), (3, 5)])
    assert (left == 0).nonzero()[:, 1].tolist() == [6, 7] * 4


def test_scores_beyond_the_grammars_vocabulary_are_forbidden():
    scores = torch.zeros(1, VOCABULARY + 3)
    left = GrammarMask(Listed((2,)), 0).apply(scores, scores, [()])
    assert (left[0] == 0).nonzero().flatten().tolist() == [2]
