"""A server that is away is asked once per pause, and the beginning and end of an outage are noticed once."""

from __future__ import annotations

from slipway.response_cache.outage import Outage


def test_a_server_that_answers_is_always_asked():
    outage = Outage(pause_s=1)
    assert [outage.allows(now) for now in (0, 0, 0.1)] == [True] * 3
    assert not outage.answered()


def test_an_outage_begins_once_and_ends_once():
    outage = Outage(pause_s=1)
    assert [outage.failed(now) for now in (0, 0.1, 1.5)] == [True, False, False]
    assert [outage.answered() for _ in range(2)] == [True, False]
    assert outage.failed(3)


def test_during_an_outage_one_attempt_per_pause_is_made():
    outage = Outage(pause_s=1)
    outage.failed(0)
    assert [outage.allows(now / 10) for now in range(31)].count(True) == 3
    outage.answered()
    assert outage.allows(3.05)
