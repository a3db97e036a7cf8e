"""The notes of one explained request: waits add up by reason, executions by phase."""

from __future__ import annotations

import pytest

from slipway.core.explanation import MAX_STEPS, Explanation, Wait, is_wanted
from slipway.core.statistics import Timing
from slipway.errors import SlipwayError


def test_waits_follow_one_another_and_add_up_by_reason():
    notes = Explanation()
    notes.wait(Wait.INSTANCE, 100)
    notes.wait(Wait.INSTANCE, 150)
    notes.wait(Wait.BATCH, 200)
    notes.wait(Wait.INSTANCE, 230)
    notes.started("m_0", 2, 3, None, 240)
    assert notes.waits == {Wait.INSTANCE: 110, Wait.BATCH: 30}
    notes.stop_waiting(500)
    assert notes.waits == {Wait.INSTANCE: 110, Wait.BATCH: 30}


def test_an_execution_begins_with_the_wait_for_its_instance_and_several_add_up():
    notes = Explanation()
    notes.started("m_0", 2, 3, (7, 1), 1000)
    assert notes.executing_since() == 1000
    notes.executed(Timing(1010, 1011, 1015, 1017))
    assert notes.executing_since() == 0
    notes.started("m_0", 4, 5, None, 2000)
    notes.executed(Timing(2005, 2006, 2016, 2020))
    assert notes.waits == {Wait.HAND_OVER: 15}
    assert (notes.executions, notes.compute_ns, notes.start_ns, notes.end_ns) == (2, [2, 14, 6], 1010, 2020)
    assert (notes.batch_requests, notes.batch_rows, notes.padding) == (4, 5, None)


def test_a_request_that_comes_during_preparation_waits_for_that():
    notes = Explanation()
    notes.meets_preparation = True
    notes.started("m_0", 1, 1, None, 10)
    notes.executed(Timing(50, 51, 52, 53))
    assert notes.waits == {Wait.PREPARATION: 40}


def test_what_executes_nothing_is_not_an_execution():
    notes = Explanation()
    notes.executed(Timing(5, 5, 5, 5))
    assert (notes.executions, notes.start_ns) == (0, 0)


@pytest.mark.parametrize("hit", [False, True])
def test_a_look_up_ends_the_wait_for_it(hit):
    notes = Explanation()
    notes.wait(Wait.CACHE, 10)
    notes.looked_up(30, hit=hit)
    notes.stop_waiting(50)
    assert (notes.cache, notes.waits) == ("hit" if hit else "miss", {Wait.CACHE: 20})


def test_the_steps_of_an_ensemble_are_bounded():
    notes = Explanation()
    made = [notes.step("m") for _ in range(MAX_STEPS + 3)]
    assert made[:MAX_STEPS] == notes.steps
    assert made[MAX_STEPS:] == [None] * 3
    assert notes.more_steps == 3


def test_the_steps_of_ensembles_in_ensembles_are_bounded_together():
    notes = Explanation()
    inner = notes.step("inner")
    assert len([each for each in (inner.step("m") for _ in range(2 * MAX_STEPS)) if each]) == MAX_STEPS - 1
    assert (notes.step("m"), notes.more_steps) == (None, 1)


@pytest.mark.parametrize("text", ["true", " TRUE ", "1"])
def test_a_header_may_ask(text):
    assert is_wanted(text)


@pytest.mark.parametrize("text", ["false", "False", "0"])
def test_a_header_may_say_that_it_does_not_ask(text):
    assert not is_wanted(text)


@pytest.mark.parametrize("text", ["", "yes", "true\n,false", "2", "\x00"])
def test_a_header_that_does_not_say_whether_is_refused(text):
    with pytest.raises(SlipwayError, match="should be 'true' or 'false'"):
        is_wanted(text)
