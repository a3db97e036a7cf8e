"""Retries wait longer each time, and stop when the server is in trouble."""

from __future__ import annotations

import pytest

from slipway.proxy.retrying import RetryBudget, pause


def test_each_pause_is_twice_as_long_up_to_a_second():
    assert [pause(attempt, 1.0) for attempt in range(7)] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_chance_spreads_the_clients():
    assert pause(2, 0.0) == pytest.approx(0.1)
    assert pause(2, 0.5) == pytest.approx(0.15)


def test_failures_use_up_the_budget_and_successes_fill_it():
    budget = RetryBudget()
    assert [budget.fail() for _ in range(50)].count(True) == 49
    assert not budget.fail()
    for _ in range(20):
        budget.succeed()
    assert budget.fail()


def test_a_long_time_of_success_does_not_buy_more_than_the_budget():
    budget = RetryBudget()
    for _ in range(10_000):
        budget.succeed()
    assert [budget.fail() for _ in range(100)].count(True) == 49
