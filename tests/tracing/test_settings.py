"""Settings of tracing: what a change gives a model and the server, which requests are sampled, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway import nearest
from slipway.config.trace_settings import TraceOptions
from slipway.errors import Code, SlipwayError
from slipway.tracing.settings import TraceSettings, read_changes

ON = TraceOptions(levels=("TIMESTAMPS",), rate=1, file="trace.json")


def change(settings: TraceSettings, model: str = "", **given: object) -> dict[str, object]:
    """Change settings; a list is several values, None clears. Return what is shown."""
    values = {
        name: () if value is None else tuple(value) if isinstance(value, list) else (value,)
        for name, value in given.items()
    }
    settings.update(model, read_changes(values, settings.shown(model)))
    return shown(settings, model)


def shown(settings: TraceSettings, model: str = "") -> dict[str, object]:
    return {
        name: list(values) if name == "trace_level" else values[0] for name, values in settings.shown(model).items()
    }


INITIAL = {
    "trace_level": ["TIMESTAMPS"],
    "trace_rate": "1",
    "trace_count": "-1",
    "log_frequency": "0",
    "trace_file": "trace.json",
    "trace_mode": "triton",
}


def test_a_model_without_a_setting_has_the_global_one():
    settings = TraceSettings(ON)
    assert shown(settings) == shown(settings, "simple") == INITIAL
    changed = INITIAL | {"trace_level": ["TIMESTAMPS", "TENSORS"]}
    assert change(settings, trace_level=["TENSORS", "TIMESTAMPS"]) == changed
    assert shown(settings, "simple") == changed


def test_clearing_falls_back_to_the_global_setting_and_that_to_the_start():
    # The sequence of Triton's L0_trace, test_http_clear_settings.
    settings = TraceSettings(ON)
    change(settings, "simple", trace_rate="12", log_frequency="34")
    change(settings, trace_rate="56", trace_count="78", trace_level=["OFF"])
    assert change(settings, trace_rate=None, trace_count=None) == INITIAL | {"trace_level": ["OFF"]}
    first = INITIAL | {"trace_level": ["OFF"], "trace_rate": "12", "log_frequency": "34"}
    assert shown(settings, "simple") == first
    assert change(settings, "simple", trace_rate=None, trace_level=None) == first | {"trace_rate": "1"}
    assert shown(settings) == INITIAL | {"trace_level": ["OFF"]}
    assert change(settings, "simple", log_frequency=None) == INITIAL | {"trace_level": ["OFF"]}


def test_a_setting_of_a_model_turns_tracing_on_for_it_alone():
    settings = TraceSettings(TraceOptions(file="trace.json", rate=1))
    assert not settings.active
    change(settings, "simple", trace_level=["TIMESTAMPS"])
    assert settings.active
    assert settings.sample("simple", forced=False) is not None
    assert settings.sample("other", forced=False) is None
    change(settings, "simple", trace_level=None)
    assert not settings.active


@given(rate=st.integers(1, 9), limit=st.integers(-1, 20), requests=st.integers(0, 100))
def test_one_of_rate_requests_is_traced_until_the_count_is_reached(rate, limit, requests):
    settings = TraceSettings(TraceOptions(levels=("TIMESTAMPS",), rate=rate, count=limit, file="a"))
    traced = [settings.sample("m", forced=False) is not None for _ in range(requests)]
    due = requests // rate
    assert sum(traced) == (due if limit < 0 else min(due, limit))
    assert all((number + 1) % rate == 0 for number, one in enumerate(traced) if one)
    left = limit if limit < 0 else limit - sum(traced)
    assert settings.shown("m")["trace_count"] == (str(left),)


@pytest.mark.parametrize(("rate", "count"), [(1000, -1), (1, 0), (0, -1)])
def test_a_forced_request_is_traced_whatever_the_rate_and_the_count(rate, count):
    settings = TraceSettings(TraceOptions("opentelemetry", ("TIMESTAMPS",), rate, count))
    assert settings.sample("m", forced=False) is None
    assert settings.sample("m", forced=True) is not None
    change(settings, trace_level=["OFF"])
    assert settings.sample("m", forced=True) is None


def test_opentelemetry_shows_its_own_settings():
    settings = TraceSettings(TraceOptions("opentelemetry", ("TIMESTAMPS",), shown=(("url", "http://a"),)))
    assert shown(settings) == {
        "trace_level": ["TIMESTAMPS"],
        "trace_rate": "1000",
        "trace_count": "-1",
        "trace_mode": "opentelemetry",
        "url": "http://a",
    }


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        ({"trace_rate": "x"}, Code.INVALID_ARG, "Unable to parse 'trace_rate', got: x"),
        ({"trace_rate": "1 "}, Code.INVALID_ARG, "Unable to parse 'trace_rate', got: 1 "),
        ({"trace_rate": ""}, Code.INVALID_ARG, "Unable to parse 'trace_rate', got: "),
        (
            {"trace_rate": "-1"},
            Code.INVALID_ARG,
            "Unable to parse 'trace_rate', value is out of range [ 0, 4294967295 ], got: -1",
        ),
        (
            {"log_frequency": "9" * 1000},
            Code.INVALID_ARG,
            "Unable to parse 'log_frequency', value is out of range [ 0, 4294967295 ], got: " + "9" * 256 + "...",
        ),
        ({"trace_count": "-2"}, Code.INVALID_ARG, "Unable to parse 'trace_count'. Expecting value >= -1, got: -2"),
        (
            {"trace_count": "10000000000"},
            Code.INVALID_ARG,
            "Unable to parse 'trace_count', value is out of range [ -1, 2147483647 ], got: 10000000000",
        ),
        ({"trace_count": "0"}, Code.INVALID_ARG, "Attempting to set invalid trace setting :"),
        ({"trace_count": ["1", "2"]}, Code.INVALID_ARG, "expect only 1 value for 'trace_count'"),
        ({"trace_level": ["OFF", "TENSORS"]}, Code.INVALID_ARG, "Expect only one trace level 'OFF' is specified"),
        ({"trace_level": ["ON"]}, Code.INVALID_ARG, "invalid trace level 'ON', expected OFF, TIMESTAMPS or TENSORS"),
        (
            {"trace_file": "/etc/passwd"},
            Code.UNSUPPORTED,
            "trace file location can not be updated through network protocol",
        ),
        ({"trace_mode": "opentelemetry"}, Code.UNSUPPORTED, "'trace_mode' can not be updated through network protocol"),
        ({"trace_ratee": "1"}, Code.INVALID_ARG, "unknown trace setting 'trace_ratee'; did you mean 'trace_rate'?"),
        (
            {"trace_rate": "0"},
            Code.INVALID_ARG,
            "Attempting to set invalid trace setting :sample rate must be non-zero",
        ),
    ],
)
def test_a_bad_change_is_refused_and_changes_nothing(given, code, message):
    settings = TraceSettings(ON)
    with pytest.raises(SlipwayError) as caught:
        change(settings, trace_level=["TENSORS"], **given) if "trace_level" not in given else change(settings, **given)
    assert (caught.value.code, caught.value.message) == (code, message)
    assert shown(settings) == INITIAL


def test_without_a_file_tracing_cannot_be_turned_on():
    settings = TraceSettings(TraceOptions())
    with pytest.raises(SlipwayError, match="Attempting to set invalid trace setting :trace file name is not given"):
        change(settings, trace_level=["TIMESTAMPS"])
    assert change(settings, trace_rate="5")["trace_rate"] == "5"


def test_what_cannot_be_changed_may_be_sent_as_it_is():
    settings = TraceSettings(ON)
    sent = {name: value for name, value in INITIAL.items() if name != "trace_file"}
    assert change(settings, **sent) == INITIAL


def test_a_long_name_is_not_compared_with_those_that_exist(monkeypatch):
    compared = []
    monkeypatch.setattr(nearest, "get_close_matches", lambda name, *_: compared.append(len(name)) or [])
    with pytest.raises(SlipwayError, match="unknown trace setting 'xxx"):
        read_changes({"x" * 1_000_000: ("1",)}, {})
    assert compared == []
