"""Bad words, stop words, penalties and the least length."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from slipway.transformer.decoding.word_lists import BadWords, StopWords
from slipway.transformer.generation import Decoding, Search
from tests.transformer.decoding.toy import Constant, Toy, decode

NEVER_ENDS = -1


@pytest.mark.capability("0.11")
def test_a_bad_word_of_one_token_never_appears():
    toy = Toy(1)
    free = decode(Decoding(30, end_id=NEVER_ENDS), toy)[0].ids
    banned = free[3] or free[4]
    for how in ({}, {"top_k": 20}, {"top_p": 1.0}):
        assert banned not in decode(Decoding(30, end_id=NEVER_ENDS, bad_words=((banned,),), **how), toy)[0].ids


@pytest.mark.capability("0.11")
def test_the_last_token_of_a_longer_bad_word_is_banned_only_after_the_others():
    toy = Constant(0, given=[0.0, 0.0, 3.0, 2.0, 1.0])
    assert decode(Decoding(5, bad_words=((2, 3),)), toy)[0].ids == (2, 2, 2, 2, 2)
    assert decode(Decoding(5, bad_words=((2, 2),)), toy)[0].ids == (2, 3, 2, 3, 2)
    assert decode(Decoding(6, bad_words=((2, 2, 2), (3, 2))), toy)[0].ids == (2, 2, 3, 3, 3, 3)


def test_what_was_not_generated_begins_no_bad_word():
    toy = Constant(0, given=[0.0, 0.0, 3.0])
    assert decode(Decoding(1, bad_words=((2, 2),)), toy, [2])[0].ids == (2,)


def test_token_0_is_never_banned():
    toy = Constant(0, given=[3.0, 0.0, 2.0])
    assert decode(Decoding(4, bad_words=((0,), (0, 0))), toy)[0].ids == (0, 0, 0, 0)


def test_words_outside_the_vocabulary_are_of_no_consequence():
    toy = Toy(2)
    plain = decode(Decoding(10), toy)[0]
    odd = decode(Decoding(10, bad_words=((-5,), (20,), (10**9,), (plain.ids[0], 10**6)), stop_words=((77,),)), toy)[0]
    assert odd.ids == plain.ids


@pytest.mark.capability("0.11")
def test_generation_ends_right_after_a_stop_word_which_is_kept():
    toy = Toy(3)
    free = decode(Decoding(20, end_id=NEVER_ENDS), toy)[0].ids
    for how in ({}, {"temperature": 0.5}):
        word = free[5:8]
        assert decode(Decoding(20, end_id=NEVER_ENDS, stop_words=(word,), **how), toy)[0].ids == free[:8]


def test_a_stop_word_is_the_tail_of_the_sequence_not_any_of_its_parts():
    words = StopWords.of([(5,), (6, 7), (1, 2, 3), ()])
    assert [words.match(ids) for ids in ((5,), (6, 7), (0, 1, 2, 3), (7,), (6, 7, 8), (2, 3), ())] == [
        True, True, True, False, False, False, False,
    ]  # fmt: skip


def test_bad_words_know_what_may_not_follow():
    words = BadWords.of([(5,), (6, 7), (6, 8), (4, 6, 9), (6, 0), ()])
    assert words.always == (5,)
    assert sorted(words.following((6,))) == [7, 8]
    assert sorted(words.following((4, 6))) == [7, 8, 9]
    assert words.following(()) == words.following((7,)) == []


def test_lists_of_100_000_words_do_not_slow_the_steps():
    chance = np.random.default_rng(0)
    words = tuple(map(tuple, chance.integers(20, 10**6, (100_000, 3)).tolist()))
    same_end = tuple((first, 7, 9) for first in range(20, 50_020))
    decoding = Decoding(300, end_id=NEVER_ENDS, stop_words=words + same_end, bad_words=words + same_end)
    started = time.process_time()
    assert len(decode(decoding, Toy(4))[0].ids) == 300
    assert time.process_time() - started < 10  # searching the lists at each step would take minutes


@pytest.mark.parametrize("search", [Search.SAMPLE, Search.HUGGING_FACE])
def test_the_end_is_banned_until_the_least_length(search):
    toy = Toy(5, end_bonus=50.0)
    for least in (0, 1, 4):
        found = decode(Decoding(9, min_tokens=least, search=search), toy)[0].ids
        assert len(found) == least + 1
        assert found[-1] == 1


def test_a_least_length_over_the_longest_gives_the_longest():
    assert len(decode(Decoding(5, min_tokens=50), Toy(6, end_bonus=50.0))[0].ids) == 5


def test_repetition_penalty_multiplies_negative_scores_and_divides_others_once_per_id():
    toy = Constant(0, given=[0.0, -9.0, 4.0, 3.0, -1.0])
    row = decode(Decoding(3, repetition_penalty=2.0, log_probabilities=True), toy, [4, 4, 99])[0]
    assert row.ids == (2, 3, 2)
    expected = ([0, -9, 4, 3, -2], [0, -9, 2, 3, -2], [0, -9, 2, 1.5, -2])
    figures = [
        np.log(np.exp(scores[token]) / np.exp(scores).sum()) for scores, token in zip(expected, row.ids, strict=True)
    ]
    assert row.log_probabilities == pytest.approx(figures, abs=1e-5)


def test_presence_penalty_is_taken_off_once_per_id():
    toy = Constant(0, given=[0.0, -9.0, 4.0, 3.2, 2.5])
    assert decode(Decoding(6, presence_penalty=1.0), toy, [0, 4])[0].ids == (2, 3, 2, 2, 2, 2)


def test_penalties_follow_each_beam_by_its_own_tokens():
    toy = Toy(7, end_bonus=-100.0)
    free = decode(Decoding(10, search=Search.HUGGING_FACE, beam_width=4), toy)
    found = decode(Decoding(10, search=Search.HUGGING_FACE, beam_width=4, presence_penalty=500.0), toy)
    assert any(len(set(hypothesis.ids)) < 10 for hypothesis in free)
    assert all(len(set(hypothesis.ids)) == 10 for hypothesis in found)


def test_bad_words_come_before_temperature_and_penalties_and_stay_banned():
    toy = Constant(0, given=[0.0, 0.0, 5.0, 4.0])
    decoding = Decoding(4, bad_words=((2,),), temperature=0.1, repetition_penalty=1.2, top_k=4, log_probabilities=True)
    row = decode(decoding, toy)[0]
    assert 2 not in row.ids
    assert math.isfinite(row.log_probability)
