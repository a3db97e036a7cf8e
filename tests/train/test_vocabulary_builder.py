"""The vocabulary builder gives what tensor2tensor's algorithm gives, written down plainly."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import plain_vocabulary as plain
from slipway.checkpoints.tensor2tensor.subwords import SubwordTextEncoder
from slipway.errors import SlipwayError
from slipway.train.vocabulary_builder import build_vocabulary, count_tokens
from tests.checkpoints.tensor2tensor.public_data import NEWSTEST
from tests.train.corpus import sentences

LINES = [*sentences(300), "naïve _ \\ 3,14 € 日本語のテキスト \u2028", "a  b", " c ", ""]


@pytest.mark.capability("2.7")
@pytest.mark.parametrize("size", [1, 60, 100, 200, 10_000])
def test_the_vocabulary_is_that_of_the_plain_algorithm(size):
    counts = count_tokens(LINES)
    assert counts == plain.count_tokens(LINES)
    assert build_vocabulary(counts, size) == plain.build(counts, size)


@given(
    st.lists(st.text(st.sampled_from(list("aab _\\ß1.\n")), max_size=12), min_size=1, max_size=30), st.integers(20, 60)
)
def test_every_text_gives_the_vocabulary_of_the_plain_algorithm(lines, size):
    counts = count_tokens(lines)
    if counts:
        assert build_vocabulary(counts, size) == plain.build(counts, size)


@pytest.mark.capability("2.7")
@pytest.mark.skipif(not NEWSTEST.is_dir(), reason="newstest2014 is not beside the project")
@pytest.mark.parametrize("size", [500, 2000])
def test_real_text_gives_a_size_within_one_percent_and_survives(size):
    lines = (NEWSTEST / "test.de").read_text(encoding="utf-8").splitlines()
    encoder = SubwordTextEncoder(build_vocabulary(count_tokens(lines), size))
    assert abs(encoder.vocabulary_size - size) < 0.01 * size
    unseen = (NEWSTEST / "test.en").read_text(encoding="utf-8").splitlines()[:200]
    assert [encoder.decode(encoder.encode(line)) for line in [*lines, *unseen]] == [*lines, *unseen]


@pytest.mark.capability("2.7")
def test_a_size_that_cannot_be_reached_gives_the_best_possible():
    encoder = SubwordTextEncoder(build_vocabulary(count_tokens(LINES), 1 << 15))
    assert encoder.vocabulary_size == len(plain.one_vocabulary(count_tokens(LINES), 1))
    assert [encoder.decode(encoder.encode(line)) for line in LINES] == LINES


def test_the_order_of_the_text_does_not_matter():
    shuffled = list(LINES)
    random.Random(2).shuffle(shuffled)
    assert build_vocabulary(count_tokens(shuffled), 100) == build_vocabulary(count_tokens(LINES), 100)


def test_a_very_long_word_gives_only_its_characters():
    lines = sentences(50)
    with_long = build_vocabulary(count_tokens([*lines, "ý" * 300_000]), 60)
    assert [each for each in with_long if "ý" in each] == ["ý"]
    assert with_long == build_vocabulary(count_tokens([*lines, "ý" * 300_000, "ý" * 2000]), 60)


def test_a_text_of_very_long_words_alone_gives_the_alphabet():
    assert build_vocabulary({"a" * 2000: 3}, 60)[:2] == ["<pad>", "<EOS>"]


def test_a_text_without_words_is_refused():
    with pytest.raises(SlipwayError, match="a text without words"):
        build_vocabulary({}, 100)


def test_a_size_below_one_is_refused():
    with pytest.raises(SlipwayError, match="the size of a vocabulary is 0"):
        build_vocabulary({"a": 1}, 0)
