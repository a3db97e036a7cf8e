"""The suggestion in an error about an unknown name."""

from __future__ import annotations

from slipway import nearest
from slipway.nearest import nearest_or_all

NAMES = {"log_info": 1, "log_error": 2}


def test_the_nearest_name_is_suggested():
    assert nearest_or_all("log_inf", NAMES) == "; did you mean 'log_info'?"


def test_without_a_near_name_all_are_listed():
    assert nearest_or_all("x", NAMES) == "; expected one of log_info, log_error"


def test_a_name_of_a_megabyte_is_compared_with_nothing(monkeypatch):
    compared = []
    monkeypatch.setattr(nearest, "get_close_matches", lambda name, *_: compared.append(name) or [])
    assert nearest_or_all("x" * 2**20, NAMES) == "; expected one of log_info, log_error"
    assert not compared
    nearest_or_all("x" * 256, NAMES)
    assert compared
