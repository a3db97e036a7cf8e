"""Bad and stop word lists: their meaning, and malformed ones."""

from __future__ import annotations

import time

import numpy as np
import pytest

from slipway.backends.fastertransformer.word_lists import MAX_TOKENS, WordListError, bannable, read_words


def words(ids, offsets, vocabulary=100):
    return read_words(np.array([ids, offsets], np.int32), vocabulary)


def test_offsets_are_cumulative_ends():
    assert words([5, 6, 7], [1, 3, -1]) == ((5,), (6, 7))


@pytest.mark.parametrize(("ids", "offsets"), [([0], [-1]), ([32], [0]), ([], [])])
def test_no_words_are_a_padding_or_an_end_of_zero(ids, offsets):
    assert words(ids, offsets) == ()


def test_words_that_can_never_be_generated_are_left_out_and_repeated_ones_kept_once():
    assert words([5, 100, 6, 5], [1, 3, 4, -1]) == ((5,),)


def test_token_zero_is_never_banned():
    assert bannable(((0,), (5, 0), (0, 5))) == ((0, 5),)


@pytest.mark.parametrize(
    ("ids", "offsets", "reason"),
    [
        ([5, 6], [1, 3], "ends at 3 of 2"),
        ([5, 6], [2, 1], "decrease"),
        ([5, 6], [-1, 1], "follows the padding"),
        ([-5, 6], [2, -1], "negative token id -5"),
    ],
)
def test_a_malformed_list_is_refused_with_the_reason(ids, offsets, reason):
    with pytest.raises(WordListError, match=reason):
        words(ids, offsets)


def test_a_list_of_another_shape_is_refused():
    with pytest.raises(WordListError, match=r"shape \[3, 1\]"):
        read_words(np.zeros((3, 1), np.int32), 10)


def test_a_list_of_a_hundred_thousand_words_is_refused_at_once():
    begin = time.process_time()  # others may use the machine
    with pytest.raises(WordListError, match=f"100000 token ids, at most {MAX_TOKENS}"):
        words(np.full(100_000, 5), np.arange(1, 100_001))
    assert time.process_time() - begin < 0.5
