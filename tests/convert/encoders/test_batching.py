"""The plan that follows from the measured rates: batches, single requests, or one instance per core."""

from __future__ import annotations

from slipway.convert.encoders.batching import Rate, decide


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
