"""The progress of a training in words, on a terminal and in a log."""

from __future__ import annotations

import io

import pytest

from slipway.cli.tensor2tensor.training_output import ConsoleReporter
from slipway.train.progress import TrainingPace
from slipway.train.reports import StepReport


def report(step, *, seconds=0.5, last=1000):
    return StepReport(step, last, loss=2.0, learning_rate=0.001, tokens=1000, seconds=seconds)


@pytest.mark.parametrize(
    ("seconds", "left"), [(0.05, "about 50 s left"), (0.5, "about 8 min left"), (60, "about 16.6 h left")]
)
def test_pace_gives_speed_and_time_left(seconds, left):
    pace = TrainingPace()
    for step in (1, 2, 3):
        state = pace.progress(report(step, seconds=seconds))
    assert str(state) == f"step 3 of 1,000 (0%), loss 2.000, {1000 / seconds:,.0f} tokens/s, {left}"
    assert state.after(5.0) == str(state)


def test_last_step_has_no_time_left():
    assert str(TrainingPace().progress(report(1000))).endswith("2,000 tokens/s")


def test_loss_is_a_mean_of_the_latest_updates():
    pace = TrainingPace()
    for step, loss in ((1, 3.0), (2, 1.0)):
        state = pace.progress(StepReport(step, 10, loss, 0.1, 10, 1.0))
    assert state.loss == 2.0


def test_log_has_the_first_and_the_last_update_and_every_event():
    stream = io.StringIO()
    with ConsoleReporter(stream) as reporter:
        for step in range(1, 6):
            reporter.trained(report(step, last=5))
        reporter.saved(5)
        reporter.evaluated(5, {"loss": 1.25, "sacrebleu": 30.0})
        reporter.note("a note")
    lines = stream.getvalue().splitlines()
    assert [line.partition(",")[0] for line in lines[:2]] == ["step 1 of 5 (20%)", "step 5 of 5 (100%)"]
    assert lines[2:] == ["step 5 saved", "step 5 on the dev split: loss 1.25, sacrebleu 30", "a note"]


def test_terminal_has_one_line_that_notes_clear(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    with ConsoleReporter(stream) as reporter:
        reporter.trained(report(1))
        reporter.trained(report(2))
        reporter.note("a note")
        reporter.trained(report(3))
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert "\r\033[Ka note\n" in text
    assert text.endswith("\r\033[K")
