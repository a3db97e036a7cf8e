"""Draws: their distributions, their seeds, and the figures that come with them."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from slipway.transformer.decoding.sampling import FilteredSampler, Nucleus
from slipway.transformer.generation import Decoding, TransformersRules
from tests.transformer.decoding.toy import Constant, Toy, decode, decode_all

SCORES = tuple(np.random.default_rng(0).normal(size=20) * 1.5)
DRAWS = 2000
NEVER_ENDS = -1


def shares(scores, temperature=1.0):
    scaled = np.array(scores, np.float64) / (temperature + 1e-6)
    return np.exp(scaled) / np.exp(scaled).sum()


def within(probabilities, mass: float) -> dict[int, float]:
    """The part of sorted probabilities that makes up `mass`; the last one only in part."""
    kept, left = {}, mass
    for token in sorted(range(len(probabilities)), key=lambda token: -probabilities[token]):
        if left > 1e-12:
            kept[token] = min(left, probabilities[token])
            left -= kept[token]
    total = sum(kept.values())
    return {token: share / total for token, share in kept.items()}


def best(probabilities, count: int):
    limit = sorted(probabilities)[-count]
    kept = np.where(probabilities >= limit, probabilities, 0.0)
    return kept / kept.sum()


def chi_square_fits(counts: Counter, expected: dict[int, float]) -> None:
    """Hold counts to shares at the 0.1 % level (Wilson and Hilferty's approximation of the critical value)."""
    assert set(counts) <= {token for token, share in expected.items() if share > 0}
    common = {token: share for token, share in expected.items() if share * DRAWS >= 5}
    rare = 1 - sum(common.values())
    statistic = sum((counts[token] - share * DRAWS) ** 2 / (share * DRAWS) for token, share in common.items())
    if rare * DRAWS >= 5:
        seen = sum(count for token, count in counts.items() if token not in common)
        statistic += (seen - rare * DRAWS) ** 2 / (rare * DRAWS)
    freedom = max(1, len(common) - 1 + (rare * DRAWS >= 5))
    assert statistic < freedom * (1 - 2 / (9 * freedom) + 3.09 * math.sqrt(2 / (9 * freedom))) ** 3


CASES = {
    "top_k": (Decoding(DRAWS, top_k=6), within(best(shares(SCORES), 6), 1.0)),
    "top_p": (Decoding(DRAWS, top_p=0.8), within(shares(SCORES), 0.8)),
    "everything": (Decoding(DRAWS, top_p=1.0), within(shares(SCORES), 1.0)),
    "both": (Decoding(DRAWS, top_k=8, top_p=0.7), within(best(shares(SCORES), 8), 0.7)),
    "temperature": (Decoding(DRAWS, top_k=20, temperature=2.5), within(shares(SCORES, 2.5), 1.0)),
    "k_beyond_vocabulary": (Decoding(DRAWS, top_k=1_000_000), within(shares(SCORES), 1.0)),
}


@pytest.mark.capability("1.15")
@pytest.mark.parametrize("case", CASES)
def test_draws_of_one_row_follow_the_distribution_that_was_asked_for(case):
    decoding, expected = CASES[case]
    row = decode(replace(decoding, end_id=NEVER_ENDS, seed=7), Constant(0, given=SCORES))[0]
    chi_square_fits(Counter(row.ids), expected)


@pytest.mark.parametrize("case", ["top_k", "top_p", "both"])
def test_first_draws_of_many_seeds_follow_the_distribution_too(case):
    decoding, expected = CASES[case]
    decodings = [replace(decoding, max_tokens=1, seed=seed) for seed in range(DRAWS)]
    rows = decode_all(decodings, [Constant(0, given=SCORES)] * DRAWS)
    chi_square_fits(Counter(row[0].ids[0] for row in rows), expected)


@pytest.mark.capability("0.10")
def test_a_seed_fixes_the_draws_and_another_seed_gives_others():
    toy = Toy(1)
    for how in ({"top_k": 10}, {"top_p": 0.95}, {"top_k": 10, "top_p": 0.9}):
        decoding = Decoding(20, end_id=NEVER_ENDS, seed=5, **how)
        first = decode(decoding, toy)
        assert first == decode(decoding, toy)
        assert first[0].ids != decode(replace(decoding, seed=6), toy)[0].ids
        assert len(decode(replace(decoding, seed=2**64 - 1), toy)[0].ids) == 20


@pytest.mark.capability("0.10")
def test_top_k_of_one_is_greedy_with_any_seed_and_nucleus():
    toy = Toy(2)
    greedy = decode(Decoding(15), toy)
    for seed in range(5):
        assert decode(Decoding(15, top_k=1, seed=seed), toy) == greedy
        assert decode(Decoding(15, top_k=1, top_p=0.9, seed=seed), toy) == greedy
        processed = decode(Decoding(15, top_k=1, top_p=0.9, seed=seed, bad_words=((19, 19, 19, 19),)), toy)
        assert processed[0].ids == greedy[0].ids


def test_a_temperature_of_zero_is_greedy():
    toy = Toy(3)
    assert decode(Decoding(15, top_k=20, temperature=0.0), toy)[0].ids == decode(Decoding(15), toy)[0].ids


@pytest.mark.parametrize("how", [{}, {"top_k": 5}, {"top_p": 0.9}, {"top_k": 5, "top_p": 0.9}])
def test_the_total_is_the_full_softmax_and_the_figures_are_normalised_within_the_best_k(how):
    toy = Toy(4)
    row = decode(Decoding(15, seed=3, log_probabilities=True, end_id=NEVER_ENDS, **how), toy)[0]
    assert row.log_probability == row.score == pytest.approx(toy.total((0,), row.ids), abs=1e-3)
    if "top_k" not in how:
        assert sum(row.log_probabilities) == pytest.approx(row.log_probability, abs=1e-3)
        return
    for at, (token, figure) in enumerate(zip(row.ids, row.log_probabilities, strict=True)):
        kept = best(shares(toy.scores((0, *row.ids[:at]))), how["top_k"])
        assert figure == pytest.approx(math.log(kept[token]), abs=1e-4)


def test_figures_of_each_token_are_left_out_unless_wanted():
    assert decode(Decoding(5), Toy(5))[0].log_probabilities == ()


@pytest.mark.parametrize("width", [100, 1500])
def test_a_wide_nucleus_of_equal_scores_draws_from_all_of_itself_alike(width):
    scores = [0.0] * width + [-30.0] * 50
    ids = decode(Decoding(DRAWS, top_p=0.9999, end_id=NEVER_ENDS, seed=1), Constant(0, given=scores))[0].ids
    assert max(ids) < width
    assert len(set(ids)) == pytest.approx(width * (1 - math.exp(-DRAWS / width)), rel=0.05)
    groups = Counter(token * 10 // width for token in ids)
    chi_square_fits(groups, dict.fromkeys(range(10), 0.1))


def test_the_factual_nucleus_shrinks_to_its_least_and_starts_again_at_its_token():
    nucleus = Nucleus(Decoding(9, top_p=0.9, top_p_decay=0.5, top_p_min=0.3, top_p_reset_id=7))
    masses = [nucleus.mass]
    for token in (2, 3, 4, 7, 5):
        nucleus.follow(token)
        masses.append(nucleus.mass)
    assert masses == pytest.approx([0.9, 0.45, 0.3, 0.3, 0.9, 0.45])


def test_a_factual_nucleus_that_has_shrunk_is_greedy_until_it_starts_again():
    given = np.log([0.3, 0.25, 0.25, 0.2])
    decoding = Decoding(4000, top_p=1.0, top_p_decay=1e-3, top_p_min=1e-6, top_p_reset_id=2, end_id=NEVER_ENDS, seed=11)
    ids = decode(decoding, Constant(0, given=given))[0].ids
    resets = [at for at, token in enumerate(ids) if token == 2]
    after = {at + 1 for at in resets} | {0}
    assert all(token == 0 for at, token in enumerate(ids) if at not in after)


def test_a_draw_never_falls_on_what_is_impossible():
    scores = [-math.inf, 1.0, -math.inf, 1.0, -math.inf]
    for how in ({"top_k": 5}, {"top_p": 1.0}, {"top_k": 4, "top_p": 1.0}):
        ids = decode(Decoding(300, end_id=NEVER_ENDS, **how), Constant(0, given=scores))[0].ids
        assert set(ids) == {1, 3}


@pytest.mark.parametrize("temperature", [1e-300, 1e-40, 1e-38, 1e-29])
def test_a_temperature_next_to_zero_gives_the_best_token(temperature):
    rules = TransformersRules()
    sampler = FilteredSampler(Decoding(1, top_p=1.0, temperature=temperature, rules=rules), rules)
    logits = torch.tensor([1.0, 9.0, -torch.inf, -3.0])
    token, log_probability, figure = sampler.choose(logits, logits.logsumexp(-1))
    assert token == 1
    assert math.isfinite(log_probability)
    assert math.isfinite(figure)
