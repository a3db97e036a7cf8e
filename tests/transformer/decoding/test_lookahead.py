"""Guesses come from where the last tokens came before, and are made only as far as they pay."""

from __future__ import annotations

import random

import pytest

from slipway.transformer.decoding.lookahead import Lookahead, PromptLookup, worthwhile


def reference(tokens: list[int], count: int) -> list[int]:
    """What follows the latest earlier place of the last three tokens."""
    places = [at for at in range(len(tokens) - 3) if tokens[at : at + 3] == tokens[-3:]]
    if not places:
        return []
    grown = list(tokens)
    for _ in range(count):
        grown.append(grown[places[-1] + 3 + len(grown) - len(tokens)])
    return grown[len(tokens) :]


@pytest.mark.parametrize("vocabulary", [2, 4, 30])
def test_a_guess_is_what_followed_the_latest_place_of_the_last_tokens(vocabulary):
    chance = random.Random(vocabulary)
    tokens = [chance.randrange(vocabulary) for _ in range(40)]
    lookup = PromptLookup(tokens)
    for _ in range(150):
        for count in (1, 3, 9):
            assert lookup.guess(count) == reference(tokens, count)
        token = chance.randrange(vocabulary)
        lookup.append(token)
        tokens.append(token)


def test_a_repetition_goes_on():
    assert PromptLookup([7, 8, 9, 7, 8, 9, 7, 8]).guess(7) == [9, 7, 8, 9, 7, 8, 9]
    assert PromptLookup([5, 5, 5, 5]).guess(3) == [5, 5, 5]
    assert PromptLookup([1, 2, 3]).guess(3) == []
    assert PromptLookup([]).guess(3) == []


def test_only_the_end_of_a_long_prompt_is_known():
    lookup = PromptLookup([1, 2, 3, 4] + [9] * 4095 + [8, 9] + [1, 2, 3])
    assert lookup.guess(1) == []
    assert len(lookup._after) <= 6
    assert PromptLookup([1, 2, 3, 4] + [9] * 400 + [1, 2, 3]).guess(1) == [4]


@pytest.mark.parametrize(
    ("share", "cost", "count"),
    [(0.5, 0.1, 3), (0.9, 0.1, 21), (0.5, 0.6, 0), (0.0, 0.0, 0), (0.8, 0.4, 4), (1.0, 0.5, 34), (0.4, 2.0, 0)],
)
def test_a_guess_is_made_while_it_gains_more_than_it_costs(share, cost, count):
    assert worthwhile(share, cost) == count
    capped = min(share, 0.98)
    assert all(capped**number >= cost for number in range(1, count + 1))
    assert capped ** (count + 1) < cost or not capped


def test_a_row_whose_guesses_are_wrong_stops_guessing_and_begins_again_when_they_are_right():
    row = Lookahead([1, 2, 3, 4] * 3)
    assert row.draft(0.2, 8)
    for token in range(100, 140):  # new tokens only: nothing to learn from
        row.observe(token)
    assert row.share == pytest.approx(0.5, abs=0.2)
    chance = random.Random(1)
    for _ in range(200):
        row.observe(chance.randrange(3))
    assert row.share < 0.6
    wrong = row.share
    for _ in range(30):
        row.observe(8)
    assert row.share > max(0.9, wrong)
    assert row.draft(0.2, 4) == [8] * 4
    assert row.draft(1.5, 4) == []
