from __future__ import annotations

import numpy as np
import pytest

from slipway.backends.lightseq.requests import TokenInput
from slipway.errors import Code, SlipwayError
from slipway.transformer.spec import Languages
from tests.backends.lightseq.asking import ids, request

PLAIN = TokenInput("source_ids", vocabulary=20, max_step=6, padding_id=1)


def read(tokens, *rows):
    return tokens.read(request(tokens.name, ids(*rows)))


def rows_of(tokens, *rows):
    return [row.ids.tolist() for row in read(tokens, *rows).rows]


def test_padding_after_a_row_is_cut_off_and_inside_it_is_kept():
    assert rows_of(PLAIN, [3, 1, 4, 1], [5, 6, 7, 8], [1, 2, 1, 1]) == [[3, 1, 4], [5, 6, 7, 8], [1, 2]]


def test_the_padded_length_is_kept_for_the_limits():
    assert read(PLAIN, [3, 1, 1, 1]).length == 4


def test_a_prompt_loses_padding_on_both_sides():
    prompt = TokenInput("token_ids", 20, 6, padding_id=1, pads_front=True)
    assert rows_of(prompt, [1, 1, 4, 5], [4, 5, 1, 1]) == [[4, 5], [4, 5]]


def test_a_padding_id_outside_the_vocabulary_is_accepted_at_the_end_of_a_row():
    beyond = TokenInput("source_ids", 20, 6, padding_id=20)
    assert rows_of(beyond, [3, 20]) == [[3]]
    with pytest.raises(SlipwayError, match="vocabulary of 20: 20"):  # nothing can be embedded as it
        read(beyond, [3, 20, 4])


def test_one_row_without_batch_dimension_is_a_batch_of_one():
    assert [row.ids.tolist() for row in PLAIN.read(request("source_ids", np.array([3, 4], np.int32))).rows] == [[3, 4]]


@pytest.mark.capability("1.16")
def test_a_row_longer_than_max_step_is_refused_in_lightseqs_words():
    with pytest.raises(
        SlipwayError, match=r"seq len of input greater than max_step.* 7 ids .* accepts at most 6"
    ) as error:
        read(PLAIN, [2] * 7)
    assert error.value.code is Code.INVALID_ARG


def test_ids_outside_the_vocabulary_are_listed():
    with pytest.raises(SlipwayError, match=r"vocabulary of 20: -3, 20, 99$"):
        read(PLAIN, [20, -3, 4], [99, 1, 1])


def test_a_request_without_tokens_is_refused():
    with pytest.raises(SlipwayError, match="has 0 ids per row"):
        read(PLAIN, [], [])
    with pytest.raises(SlipwayError, match=r"expected \[rows, tokens\]"):
        PLAIN.read(request("source_ids", np.zeros((1, 1, 1), np.int32)))


def test_rows_of_padding_alone_are_named():
    asked = request("source_ids", ids([3, 4], [1, 1], [1, 1]))
    with pytest.raises(SlipwayError, match=r"at least 1 token that .* padding \(id 1\) in each row, but row 1, 2 "):
        PLAIN.check_filled(asked, PLAIN.read(asked))


@pytest.mark.capability("1.20")
@pytest.mark.parametrize(
    ("mode", "length"), [(Languages.EVERY_TOKEN, 3), (Languages.PREFIX_TOKEN, 4), (Languages.TARGET_IN_SOURCE, 4)]
)
def test_a_multilingual_row_begins_with_its_languages(mode, length):
    tokens = TokenInput("source_ids", 20, 6, padding_id=1, mode=mode, languages=frozenset(range(3)))
    batch = read(tokens, [2, 0, 7, 8, 1], [1, 2, 9, 1, 1])
    assert [(row.source_language, row.target_language, row.ids.tolist()) for row in batch.rows] == [
        (2, 0, [7, 8]),
        (1, 2, [9]),
    ]
    assert batch.length == length


@pytest.mark.capability("1.20")
def test_a_multilingual_row_has_at_least_three_ids_and_languages_that_exist():
    tokens = TokenInput("source_ids", 20, 6, mode=Languages.EVERY_TOKEN, languages=frozenset(range(3)))
    with pytest.raises(SlipwayError, match="source language, target language and at least one token"):
        read(tokens, [0, 1])
    with pytest.raises(SlipwayError, match="from 0, 1, 2, but has -1, 3"):
        read(tokens, [3, 0, 5], [0, -1, 5])
