"""Which texts of a request share a request to the model."""

from __future__ import annotations

import random

import pytest

from slipway.rest.openai.rows import plan_groups


def test_every_row_is_in_exactly_one_group_of_at_most_the_given_size():
    chance = random.Random(4)
    lengths = [chance.randrange(1, 600) for _ in range(500)]
    groups = list(plan_groups(lengths, 16))
    assert sorted(place for group in groups for place in group) == list(range(500))
    assert max(map(len, groups)) <= 16


def test_little_of_a_group_is_padding():
    chance = random.Random(5)
    lengths = [chance.choice((3, 5, 40, 300)) for _ in range(200)]
    for group in plan_groups(lengths, 16):
        tokens = [lengths[place] for place in group]
        assert sum(tokens) >= 0.8 * len(tokens) * max(tokens)


def test_a_group_of_long_rows_is_small_and_a_single_row_may_have_any_length():
    assert [len(group) for group in plan_groups([2000] * 4, 16)] == [2, 2]
    assert list(plan_groups([100_000], 16)) == [[0]]


def test_exact_rows_share_a_group_only_with_those_of_equal_length():
    assert list(plan_groups([5, 4, 5, 4], 16, exact=True)) == [[1, 3], [0, 2]]


@pytest.mark.parametrize("lengths", [[], [0], [0, 0]])
def test_rows_without_tokens_are_rows_too(lengths):
    assert sorted(place for group in plan_groups(lengths, 4) for place in group) == list(range(len(lengths)))
