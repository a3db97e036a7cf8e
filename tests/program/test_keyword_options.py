"""Keyword arguments of a server: read and checked as the flags of the command line are."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.errors import SlipwayError
from slipway.program.keyword_options import check_names, read_options


def test_python_values_become_the_values_of_flags():
    options = read_options(
        ("models",),
        {
            "http_port": 0,
            "strict_readiness": False,
            "model_control_mode": "explicit",
            "load_model": ["a", "b"],
            "backend_config": {"openvino": {"NUM_STREAMS": 2}, "": {"default-max-batch-size": 8}},
            "backend_directory": Path("/backends"),
            "trace_config": None,
            "metrics_config": {"summary_latencies": True},
        },
    )
    assert options.model_repository == (Path("models"),)
    assert (options.http_port, options.strict_readiness, options.load_model) == (0, False, ("a", "b"))
    assert options.backend_config == {"openvino": {"NUM_STREAMS": "2"}, "": {"default-max-batch-size": "8"}}
    assert options.backend_directory == (Path("/backends"),)
    assert options.metrics_config["summary_latencies"] is True


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"http_port": 70000}, "--http-port"),
        ({"http_port": "eighty"}, "--http-port"),
        ({"model_control_mode": "sometimes"}, "sometimes"),
        ({"http_port": [1, 2]}, "http_port has one value, not 2"),
        ({"http_port": object()}, "http_port has a value of type object"),
        ({"load_model": "a"}, "--model-control-mode=explicit"),
    ],
)
def test_values_are_checked_as_on_the_command_line(given, text):
    with pytest.raises(SlipwayError, match=text):
        read_options(("models",), given)


def test_an_unknown_option_gets_the_nearest_name():
    with pytest.raises(SlipwayError, match="has no option 'htp_port'; did you mean 'http_port'"):
        check_names({"htp_port": 1})


def test_the_programs_logging_is_its_own():
    with pytest.raises(SlipwayError, match=r"log_file is not an option of slipway\.Server: configure Python's logger"):
        check_names({"log_file": "x"})
    with pytest.raises(SlipwayError, match="has no option 'show_options'"):
        check_names({"show_options": True})
    check_names({"log_verbose": 1, "log_access": True, "exit_timeout_secs": 3})


@pytest.mark.parametrize("name", ["name", "engine", "precision", "accuracy", "task", "input", "fast"])
def test_a_server_in_a_program_converts_nothing(name):
    with pytest.raises(SlipwayError, match=f"{name} is not an option of slipway.Server: it serves model repositories"):
        check_names({name: "x"})


def test_what_has_no_effect_or_exposes_the_server_is_warned_about(monkeypatch):
    monkeypatch.setenv("SLIPWAY_LOG_FILE", "log")
    warnings = read_options(("models",), {"http_address": "0.0.0.0"}).warnings  # noqa: S104  never bound
    assert any(each.startswith("log_file has no effect on slipway.Server") for each in warnings)
    assert any("0.0.0.0" in each for each in warnings)  # noqa: S104
