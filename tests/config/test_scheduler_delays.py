"""The environment variables that delay schedulers, read as Triton reads them."""

from __future__ import annotations

import pytest

from slipway.config.scheduler_delays import NO_DELAYS, SchedulerDelays, scheduler_delays


@pytest.mark.parametrize(
    ("text", "number"), [("3", 3), (" +7x", 7), ("0", 0), ("x", 0), ("", 0), ("-4", 0), ("1e3", 1)]
)
def test_the_leading_number_counts(text, number):
    assert scheduler_delays({"TRITONSERVER_DELAY_SCHEDULER": text}) == SchedulerDelays(requests=number)
    assert scheduler_delays({"TRITONSERVER_BACKLOG_DELAY_SCHEDULER": text}) == SchedulerDelays(backlog=number)


def test_without_variables_nothing_is_delayed():
    assert scheduler_delays({}) == NO_DELAYS
    assert not NO_DELAYS.any
    assert SchedulerDelays(backlog=1).any
