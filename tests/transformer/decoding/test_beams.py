"""Beam search by the three length rules, compared with transformers, slow references and complete enumeration."""

from __future__ import annotations

import math
import random

import pytest

from slipway.transformer.generation import Decoding, Search
from tests.transformer.decoding import reference
from tests.transformer.decoding.toy import Constant, Toy, decode, decode_all

RULES = {
    Search.HUGGING_FACE: reference.hugging_face,
    Search.LIGHTSEQ: reference.lightseq,
    Search.TENSOR2TENSOR: reference.tensor2tensor,
}


def same(found, expected):
    assert [hypothesis.ids for hypothesis in found] == [entry.ids for entry in expected]
    for hypothesis, entry in zip(found, expected, strict=True):
        assert hypothesis.score == pytest.approx(entry.score, abs=1e-5)


def cases(rule: Search, count: int):
    chance = random.Random(rule.value)
    for seed in range(count):
        decoding = Decoding(
            chance.randint(1 + (rule is Search.LIGHTSEQ), 9),
            search=rule,
            beam_width=chance.choice((1, 2, 3, 4, 8)),
            length_penalty=chance.choice((0.0, 0.6, 1.0, 2.0, -1.0)),
            early_stopping=chance.random() < 0.3,
            diversity=0.0 if rule is Search.TENSOR2TENSOR else chance.choice((0.0, 0.0, 0.3)),
            log_probabilities=True,
        )
        yield decoding, Toy(seed, end_bonus=chance.choice((-2.0, 0.0, 2.0, 4.0)))


@pytest.mark.capability("1.14")
@pytest.mark.parametrize("rule", RULES)
def test_beams_of_a_vocabulary_of_20_equal_the_reference_that_looks_at_every_continuation(rule):
    decodings, toys = zip(*cases(rule, 150), strict=True)
    for decoding, toy, found in zip(decodings, toys, decode_all(decodings, toys), strict=True):
        same(found, RULES[rule](toy, decoding))


@pytest.mark.parametrize("rule", RULES)
def test_figures_of_each_token_are_those_of_the_way_that_the_beam_went(rule):
    for decoding, toy in cases(rule, 20):
        for hypothesis in decode(decoding, toy):
            forced = rule is Search.LIGHTSEQ and hypothesis.log_probabilities[-1] == 0.0
            ids = hypothesis.ids[:-1] if forced else hypothesis.ids
            assert hypothesis.log_probability == pytest.approx(toy.total((0,), ids), abs=1e-4)
            assert math.fsum(hypothesis.log_probabilities) == pytest.approx(hypothesis.log_probability)


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.5, -0.5])
def test_a_hugging_face_beam_wide_enough_finds_every_sequence_in_order(penalty):
    toy = Toy(1, vocabulary=4)
    found = decode(Decoding(3, search=Search.HUGGING_FACE, beam_width=64, length_penalty=penalty), toy)
    sequences = list(reference.everything(toy, 3))
    same(found, reference.ranked([reference.Scored(total / len(ids) ** penalty, ids) for ids, total in sequences]))
    assert len(found) == 1 + 3 + 9 * 4


@pytest.mark.capability("1.14")
@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.5])
def test_a_lightseq_beam_wide_enough_finds_the_best_of_all_sequences(penalty):
    toy = Toy(2, end_bonus=2.0)
    found = decode(Decoding(4, search=Search.LIGHTSEQ, beam_width=400, length_penalty=penalty), toy)
    scored = [
        reference.Scored(total / ((5 + len(ids)) / 6) ** penalty, ids if ids[-1] == 1 else (*ids, 1))
        for ids, total in reference.everything(toy, 3)
    ]
    same(found, reference.ranked(scored)[:400])


@pytest.mark.capability("1.14")
def test_a_lightseq_beam_with_a_negative_penalty_orders_all_sequences_by_their_average():
    toy = Toy(3, end_bonus=2.0)
    found = decode(Decoding(3, search=Search.LIGHTSEQ, beam_width=400, length_penalty=-1.0), toy)
    scored = [
        reference.Scored(total / max(1, sum(token != 1 for token in ids)), ids if ids[-1] == 1 else (*ids, 1))
        for ids, total in reference.everything(toy, 2)
    ]
    same(found, reference.ranked(scored))


def test_a_tensor2tensor_beam_wide_enough_finds_the_best_sequence_that_ends():
    for seed in range(20):
        toy = Toy(seed, vocabulary=5)
        found = decode(Decoding(4, search=Search.TENSOR2TENSOR, beam_width=125, length_penalty=0.6), toy)
        ended = [
            reference.Scored(total / ((5 + len(ids)) / 6) ** 0.6, ids)
            for ids, total in reference.everything(toy, 4)
            if ids[-1] == 1
        ]
        assert found[0].ids == max(ended).ids


def test_a_tensor2tensor_beam_in_which_nothing_ends_returns_what_is_alive():
    toy = Toy(4, end_bonus=-1000.0)
    found = decode(Decoding(5, search=Search.TENSOR2TENSOR, beam_width=3, length_penalty=0.6), toy)
    assert [len(hypothesis.ids) for hypothesis in found] == [5, 5, 5]
    assert found[0].score == pytest.approx(found[0].log_probability / (10 / 6) ** 0.6)


@pytest.mark.parametrize("width", [1, 4])
def test_the_last_column_of_a_lightseq_beam_is_the_end(width):
    for longest in (1, 2, 3):
        decoding = Decoding(longest, search=Search.LIGHTSEQ, beam_width=width, end_id=2)
        found = decode(decoding, Constant(0, given=(1.0, 0.5, -50.0, 0.3, 0.2)))
        assert len(found) == width
        assert all(len(hypothesis.ids) == longest and hypothesis.ids[-1] == 2 for hypothesis in found)


def test_diversity_makes_the_beams_of_lightseq_begin_differently():
    toy = Toy(5)
    plain = decode(Decoding(6, search=Search.LIGHTSEQ, beam_width=4), toy)
    diverse = decode(Decoding(6, search=Search.LIGHTSEQ, beam_width=4, diversity=50.0), toy)
    assert len({hypothesis.ids[0] for hypothesis in diverse}) == 4 > len({hypothesis.ids[0] for hypothesis in plain})


@pytest.mark.parametrize("rule", RULES)
def test_stop_words_finish_the_beam_that_says_them(rule):
    toy = Toy(6, end_bonus=-1000.0)
    words = tuple((token,) for token in range(2, 20, 2))
    found = decode(Decoding(12, search=rule, beam_width=4, stop_words=words, length_penalty=1.0), toy)
    assert len(found) == 4
    assert any(len(hypothesis.ids) < 12 for hypothesis in found)
    for hypothesis in found:
        assert all((token,) not in words for token in hypothesis.ids[:-1])


@pytest.mark.parametrize("rule", [*RULES, Search.BRANCHES])
def test_no_beam_says_a_bad_word_or_ends_too_early(rule):
    toy = Toy(7, end_bonus=3.0)
    pair = decode(Decoding(8, min_tokens=5, search=rule, beam_width=4), toy)[0].ids[:2]
    decoding = Decoding(8, min_tokens=5, search=rule, beam_width=4, bad_words=((3,), pair, (0,)))
    found = decode(decoding, toy)
    assert found
    for hypothesis in found:
        assert 3 not in hypothesis.ids
        assert pair not in zip(hypothesis.ids, hypothesis.ids[1:], strict=False)
        assert 1 not in hypothesis.ids[:5]


def test_a_vocabulary_smaller_than_the_beam_gives_the_sequences_there_are():
    found = decode(Decoding(1, search=Search.HUGGING_FACE, beam_width=8), Toy(8, vocabulary=3))
    assert len(found) == 3


@pytest.mark.capability("1.15")
def test_branches_are_the_best_first_tokens_each_followed_greedily():
    for seed in range(20):
        toy = Toy(seed, end_bonus=1.0)
        found = decode(Decoding(7, search=Search.BRANCHES, beam_width=4, log_probabilities=True), toy)
        first = toy.scores((0,))
        assert [hypothesis.ids[0] for hypothesis in found] == sorted(range(20), key=lambda token: -first[token])[:4]
        assert found[0].ids == decode(Decoding(7), toy)[0].ids
        for hypothesis in found:
            assert hypothesis.log_probability == pytest.approx(toy.total((0,), hypothesis.ids), abs=1e-4)
            for at in range(1, len(hypothesis.ids)):
                assert hypothesis.ids[at] == toy.scores((0, *hypothesis.ids[:at])).argmax()
            assert hypothesis.ids[-1] == 1 or len(hypothesis.ids) == 7


def test_a_length_penalty_beyond_all_reason_neither_overflows_nor_loses_a_beam():
    for penalty in (1e6, -1e6):
        for rule in RULES:
            found = decode(Decoding(5, search=rule, beam_width=3, length_penalty=penalty), Toy(9, end_bonus=1.0))
            assert all(math.isfinite(hypothesis.score) for hypothesis in found)
