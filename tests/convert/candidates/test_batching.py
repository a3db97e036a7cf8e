"""The plan that follows from the measured rates: batches, single requests, or one instance per core."""

from __future__ import annotations

import pytest

from slipway.convert.candidates.batching import Rate, decide
from slipway.convert.measure import in_rounds
from slipway.convert.plan import Plan, Ratio


def rates(length: int, *rows_per_second: float) -> list[Rate]:
    return [Rate(length, rows, rate) for rows, rate in zip((1, 2, 4, 8, 16), rows_per_second, strict=False)]


def test_batches_are_as_large_as_they_still_gain():
    plan = decide([*rates(32, 570, 700, 820, 900, 910), *rates(128, 180, 195, 200, 201, 202)], [], cores=2)
    assert (plan.instances, plan.max_tokens) == (1, 8 * 32)
    assert "1.60 times as many rows at 32 tokens" in plan.why


def test_where_batches_gain_nothing_requests_run_one_by_one():
    plan = decide(rates(128, 8.0, 8.1, 8.2, 8.2, 8.3), [], cores=2)
    assert (plan.instances, plan.max_tokens) == (1, 0)
    assert "times the rows of single requests: no batching" in plan.why


def test_an_instance_per_core_must_bring_what_a_lone_request_loses():
    measured = rates(32, 100, 110, 120, 121, 122)
    assert decide(measured, [Rate(32, 1, 130)], cores=2).instances == 1
    plan = decide(measured, [Rate(32, 1, 150)], cores=2)
    assert (plan.instances, plan.max_tokens) == (2, 0)
    assert "2 instances with one thread each serve 1.23 times" in plan.why


def rounds(length: int, *of_rows: list[float]) -> list[Rate]:
    return [Rate.of(length, rows, measured) for rows, measured in zip((1, 2, 4, 8, 16), of_rows, strict=False)]


CALM = [100.0, 101, 99, 100, 100]


def test_figures_of_a_round_are_taken_in_turn():
    clock = iter(range(6))
    taken = in_rounds([lambda: float(next(clock)), lambda: float(next(clock))], 3)
    assert taken == [(0.0, 2.0, 4.0), (1.0, 3.0, 5.0)]


def test_a_moment_that_takes_all_figures_of_a_round_down_changes_nothing():
    busy = [1.0, 1, 0.1, 1, 1]
    rates = rounds(32, [100 * each for each in busy], [150 * each for each in busy])
    assert decide(rates, [], cores=2).max_tokens == 2 * 32


def test_one_round_that_is_far_out_is_left_out():
    assert Ratio.of([1.5, 1.5, 25.0, 1.4, 1.6]) == Ratio(1.5, 1.5, 1.6)


def test_a_gain_that_lies_within_the_spread_is_too_noisy_to_tell_and_requests_run_one_by_one():
    plan = decide(rounds(32, CALM, [120.0, 80, 160, 90, 130]), [], cores=2)
    assert (plan.instances, plan.max_tokens) == (1, 0)
    assert plan.why == (
        "too noisy to tell: batches of 32-token rows serve 1.20 times (0.90 to 1.30) as many rows. Requests run one by "
        "one, the safer plan; convert again on an idle machine"
    )


@pytest.mark.parametrize("measured", [[220.0, 900, 140, 350, 260], [2500.0] * 5])
def test_instances_are_not_believed_to_serve_what_the_spread_or_the_cores_do_not_allow(measured):
    alone = rounds(32, CALM, [200.0, 202, 199, 200, 201])
    plan = decide(alone, [Rate.of(32, 1, measured)], cores=2)
    assert (plan.instances, plan.max_tokens) == (1, 2 * 32)


def test_what_is_sure_is_done_and_what_is_not_is_said_beside_it():
    alone = rounds(32, CALM, [200.0, 202, 199, 200, 201])
    plan = decide(alone, [Rate.of(32, 1, [2500.0] * 5)], cores=2)
    assert (plan.instances, plan.max_tokens) == (1, 64)
    assert plan.why.startswith("batches serve 2.00 times as many rows at 32 tokens")
    assert "too noisy to tell: one instance per core serves 12.50 times" in plan.why


def test_a_batch_size_that_was_too_slow_to_measure_at_one_length_is_blank_there():
    rates = (Rate(16, 1, 100.0), Rate(16, 8, 200.0), Rate(128, 1, 10.0))
    headers, rows = Plan(1, 0, rates).table()
    assert headers == ("tokens", "batch 1", "batch 8")
    assert rows == [("16", "100", "200"), ("128", "10", "")]
