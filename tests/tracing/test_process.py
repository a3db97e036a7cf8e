"""A fault of the exporting process is logged once, without secrets, and so is its end; a dead process comes back."""

from __future__ import annotations

import logging
import sys

import pytest

from slipway.config.trace_settings import TraceOptions
from slipway.tracing import process
from slipway.tracing.process import TraceOutage, TraceProcess


class Counts:
    def __init__(self) -> None:
        self.sums = [0, 0]

    def written(self, count: int) -> None:
        self.sums[0] += count

    def lost(self, count: int) -> None:
        self.sums[1] += count


def test_an_outage_and_its_end_are_logged_once(caplog):
    caplog.set_level(logging.INFO)
    outage = TraceOutage("http://collector/", "user:password@")
    outage.note(5, 0, "")
    outage.note(0, 3, "no answer from http://user:password@collector/")
    outage.note(0, 4, "again")
    outage.note(2, 0, "")
    outage.note(2, 0, "")
    assert caplog.messages == [
        "traces are lost until 'http://collector/' accepts them: no answer from http://collector/",
        "'http://collector/' accepts traces again; 7 were lost",
    ]


@pytest.mark.timeout(60)
def test_a_process_that_dies_is_logged_and_started_again(caplog, monkeypatch):
    monkeypatch.setattr(process, "_MODULE", "no.such.module")
    sink = TraceProcess(TraceOptions(file="trace.json"), Counts())
    assert [sink.write([b"x" * 4_000_000]) for _ in range(3)] == [0, 0, 0]
    assert caplog.messages == ["the process that writes traces ended with code 1"]
    monkeypatch.setattr(process, "_RESTART_S", 0.0)
    assert sink.write([b"x" * 4_000_000]) == 0
    assert len(caplog.messages) == 2
    sink.close()


def test_a_program_that_is_not_there_is_logged(caplog, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/absent/python")
    assert TraceProcess(TraceOptions(file="trace.json"), Counts()).write([b"x"]) == 0
    assert caplog.messages == ["the process that writes traces cannot be started: No such file or directory"]
