"""Deadlines: each thing times out once, at its earliest time, and what is forgotten leaves nothing behind."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slipway.scheduling.deadlines import Deadlines


def test_the_earliest_deadline_of_a_thing_counts():
    deadlines = Deadlines()
    deadlines.set("a", 10)
    deadlines.set("a", 5)
    deadlines.set("a", 20)
    assert deadlines.nearest() == 5
    assert deadlines.expire(5) == ["a"]
    assert (deadlines.expire(100), deadlines.nearest()) == ([], None)


def test_what_is_forgotten_does_not_time_out():
    deadlines = Deadlines()
    deadlines.set("a", 10)
    deadlines.set("b", 20)
    deadlines.forget("a")
    deadlines.forget("c")
    assert deadlines.nearest() == 20
    assert deadlines.expire(30) == ["b"]


def test_memory_is_bounded_by_what_has_a_deadline():
    deadlines = Deadlines()
    for number in range(10_000):
        deadlines.set(number, 10**18)
        deadlines.forget(number)
    assert len(deadlines._heap) < 200


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9))), st.integers(0, 9))
def test_it_agrees_with_a_dictionary(changes, now):
    deadlines, expected = Deadlines(), {}
    for name, time in changes:
        if time == 9:
            deadlines.forget(name)
            expected.pop(name, None)
        else:
            deadlines.set(name, time)
            expected[name] = min(time, expected.get(name, time))
    assert deadlines.nearest() == min(expected.values(), default=None)
    assert sorted(deadlines.expire(now)) == sorted(name for name, time in expected.items() if time <= now)
    assert len(deadlines) == sum(time > now for time in expected.values())
