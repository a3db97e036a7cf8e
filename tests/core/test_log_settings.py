"""Log settings are shown and changed as Triton's; a bad one changes nothing."""

from __future__ import annotations

import pytest

from slipway import nearest
from slipway.core.log_settings import LogSettings
from slipway.errors import Code, SlipwayError


def test_the_settings_are_shown_in_tritons_order():
    assert list(LogSettings(file="a.log", verbose=2).shown().items()) == [
        ("log_file", "a.log"),
        ("log_info", True),
        ("log_warning", True),
        ("log_error", True),
        ("log_verbose_level", 2),
        ("log_format", "default"),
    ]


def test_each_setting_but_the_file_can_be_changed():
    settings = LogSettings()
    given = {"log_info": False, "log_warning": False, "log_error": False, "log_verbose_level": 1, "log_format": "json"}
    settings.update(given)
    assert settings.shown() == {"log_file": ""} | given


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        ({"log_file": "/a"}, Code.UNSUPPORTED, "log file location can not be updated through network protocol"),
        ({"log_format": "xml"}, Code.INVALID_ARG, "invalid argument for log_format, got: xml"),
        ({"log_verbose_level": 2**31}, Code.INVALID_ARG, "'log_verbose_level' is at most 2147483647, got: 2147483648"),
        ({"log_warnings": True}, Code.INVALID_ARG, "unknown log setting 'log_warnings'; did you mean 'log_warning'?"),
    ],
)
def test_a_bad_change_is_refused_as_a_whole(given, code, message):
    settings = LogSettings()
    with pytest.raises(SlipwayError) as caught:
        settings.update({"log_info": False} | given)
    assert (caught.value.code, caught.value.message) == (code, message)
    assert settings == LogSettings()


def test_a_long_name_is_not_compared_with_those_that_exist(monkeypatch):
    compared = []
    monkeypatch.setattr(nearest, "get_close_matches", lambda name, *_: compared.append(len(name)) or [])
    with pytest.raises(SlipwayError, match="unknown log setting 'xxx"):
        LogSettings().update({"x" * 1_000_000: True})
    assert compared == []
