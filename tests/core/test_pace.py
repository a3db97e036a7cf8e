"""A pace lets those who answer wait until their receiver has room."""

from slipway.core.pace import Pace


def test_nobody_waits_for_an_open_pace():
    passed = []
    Pace().when_open(lambda: passed.append("at once"))
    assert passed == ["at once"]


def test_a_held_pace_lets_everybody_pass_when_it_is_released_and_only_once():
    passed, pace = [], Pace()
    pace.hold()
    pace.hold()
    for name in "ab":
        pace.when_open(lambda name=name: passed.append(name))
    assert passed == []
    pace.release()
    pace.release()
    assert passed == ["a", "b"]


def test_whoever_is_let_through_may_hold_it_again():
    passed, pace = [], Pace()
    pace.hold()
    pace.when_open(pace.hold)
    pace.release()
    pace.when_open(lambda: passed.append("later"))
    assert passed == []
    pace.release()
    assert passed == ["later"]
