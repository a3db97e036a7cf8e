"""Pauses while a server is away."""

from __future__ import annotations

from slipway.lines.backoff import Backoff


def test_pauses_grow_up_to_a_limit():
    backoff = Backoff(1000)
    pauses = [backoff.pause(attempt, 0) for attempt in range(1, 9)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_it_gives_up_when_nothing_succeeded_for_the_whole_time():
    backoff = Backoff(60)
    assert backoff.pause(1, 100) is not None
    assert backoff.pause(50, 159) == 1
    assert backoff.pause(51, 160) is None


def test_a_success_of_any_request_starts_the_time_again():
    backoff = Backoff(60)
    backoff.pause(1, 100)
    backoff.succeeded()
    assert backoff.pause(2, 200) is not None
