"""The count of a conversion's steps, and the estimate of the time left."""

from __future__ import annotations

import pytest

from slipway.convert.steps import ConversionStep, Stage, Steps
from slipway.durations import time_left


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shown() -> list[ConversionStep]:
    return []


@pytest.fixture
def steps(shown: list[ConversionStep], clock: Clock) -> Steps:
    return Steps(shown.append, clock, finish=3.0)


def test_the_total_is_known_with_the_candidates(steps, shown):
    steps("reading m")
    steps.expect(3)
    steps.begin(Stage.PREPARE)
    steps("running the reference")
    steps("exporting")
    assert [str(each) for each in shown] == [
        "step 1: reading m",
        "step 2 of 7: running the reference",
        "step 2 of 7: exporting",
    ]


def test_every_candidate_counts_and_the_last_step_is_the_total(steps, shown):
    steps.expect(2)
    for stage in (Stage.PREPARE, Stage.CANDIDATE, Stage.CANDIDATE, Stage.AGAIN, Stage.FINISH):
        steps.begin(stage)
        steps("x")
    assert [(each.number, each.total) for each in shown] == [(2, 6), (3, 6), (4, 6), (5, 6), (6, 6)]


def test_the_time_left_follows_from_the_candidates_that_are_done(steps, shown, clock):
    steps.expect(3)
    steps.begin(Stage.PREPARE)
    clock.now += 50
    steps.begin(Stage.CANDIDATE)
    steps("building a")
    assert shown[-1].seconds_left is None
    clock.now += 10
    steps.begin(Stage.CANDIDATE)
    steps("building b")
    tail = 10 * (1.2 + 3.0)
    assert shown[-1].seconds_left == pytest.approx(20 + tail)
    clock.now += 4
    steps("verifying b")
    assert shown[-1].seconds_left == pytest.approx(16 + tail)
    clock.now += 16  # longer than the first one
    steps("measuring b")
    assert shown[-1].seconds_left == pytest.approx(10 + tail)
    steps.begin(Stage.CANDIDATE)
    steps("building c")
    assert shown[-1].seconds_left == pytest.approx(15 * (1 + 1.2 + 3.0))


def test_a_step_that_takes_longer_than_expected_shows_no_time_rather_than_a_wrong_one(steps, shown, clock):
    steps.expect(1)
    steps.begin(Stage.PREPARE)
    steps.begin(Stage.CANDIDATE)
    clock.now += 10
    steps.begin(Stage.FINISH)
    clock.now += 100
    steps("writing")
    assert str(shown[-1]) == "step 4 of 4: writing"


def test_a_step_knows_what_is_left_of_it_later():
    step = ConversionStep(3, 5, "measuring", 30.0)
    assert str(step.after(10)) == "step 3 of 5: measuring, about 20 s left"
    assert str(step.after(40)) == "step 3 of 5: measuring"
    assert ConversionStep(1, 0, "reading").after(40) == ConversionStep(1, 0, "reading")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.4, ""),
        (7.2, "about 7 s left"),
        (42, "about 40 s left"),
        (88, "about 90 s left"),
        (100, "about 2 min left"),
        (1000, "about 17 min left"),
        (9000, "about 2.5 h left"),
    ],
)
def test_an_estimate_is_not_more_precise_than_it_can_be(seconds, expected):
    assert time_left(seconds) == expected
