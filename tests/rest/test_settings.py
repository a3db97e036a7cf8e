"""The settings of tracing and logging over HTTP: JSON as Triton's, with its statuses and texts for what is wrong."""

from __future__ import annotations

import json

import pytest

TRACE = {
    "trace_level": ["OFF"],
    "trace_rate": "1000",
    "trace_count": "-1",
    "log_frequency": "0",
    "trace_file": "",
    "trace_mode": "triton",
}
LOG = {
    "log_file": "",
    "log_info": True,
    "log_warning": True,
    "log_error": True,
    "log_verbose_level": 0,
    "log_format": "default",
}


def post(served, path: str, document: object) -> tuple[int, object]:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    answer = served.ask("POST", path, body)
    return answer.status, json.loads(answer.body)


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/v2/trace/setting", TRACE), ("/v2/models/echo/trace/setting", TRACE), ("/v2/logging", LOG)],
)
def test_settings_are_shown_to_get_and_to_an_empty_post(served, path, expected):
    assert json.loads(served.ask("GET", path).body) == expected
    assert post(served, path, b"") == post(served, path, {}) == (200, expected)
    assert served.ask("PUT", path).status == 405


@pytest.mark.parametrize("path", ["/v2/trace/setting/", "/v2/models/echo/versions/1/trace/setting", "/v2/logging/"])
def test_other_paths_are_not_found(served, path):
    assert served.ask("GET", path).status == 404


def test_a_changed_setting_is_shown_and_null_clears_it(served):
    assert post(served, "/v2/trace/setting", {"trace_rate": "7"}) == (200, TRACE | {"trace_rate": "7"})
    assert post(served, "/v2/trace/setting", {"trace_rate": None}) == (200, TRACE)
    changed = {"log_info": False, "log_verbose_level": 1, "log_format": "ISO8601"}
    assert post(served, "/v2/logging", changed) == (200, LOG | changed)
    assert post(served, "/v2/logging", {"log_info": None, "log_file": None}) == (200, LOG | changed)


@pytest.mark.parametrize(
    ("path", "given", "status", "error"),
    [
        (
            "/v2/trace/setting",
            {"trace_file": "a"},
            501,
            "trace file location can not be updated through network protocol",
        ),
        ("/v2/trace/setting", {"trace_level": "OFF"}, 500, "attempt to access JSON non-array as array"),
        ("/v2/trace/setting", {"trace_level": [1]}, 500, "attempt to access JSON non-string as string"),
        ("/v2/trace/setting", {"trace_rate": 7}, 500, "attempt to access JSON non-string as string"),
        ("/v2/trace/setting", {"trace_rate": "x"}, 400, "Unable to parse 'trace_rate', got: x"),
        (
            "/v2/trace/setting",
            {"trace_level": ["TIMESTAMPS"]},
            400,
            "Attempting to set invalid trace setting :trace file name is not given",
        ),
        ("/v2/trace/setting", b"{", 500, "failed to parse the request JSON buffer"),
        ("/v2/logging", {"log_file": "a"}, 501, "log file location can not be updated through network protocol"),
        ("/v2/logging", {"log_info": 1}, 500, "attempt to access JSON non-boolean as boolean"),
        (
            "/v2/logging",
            {"log_verbose_level": -1},
            500,
            "attempt to access JSON non-unsigned-integer as unsigned-integer",
        ),
        (
            "/v2/logging",
            {"log_verbose_level": True},
            500,
            "attempt to access JSON non-unsigned-integer as unsigned-integer",
        ),
        ("/v2/logging", {"log_format": "xml"}, 503, "invalid argument for --log_format, got: xml"),
        ("/v2/logging", {"log_levels": 1}, 400, "unknown log setting 'log_levels'; did you mean 'log_"),
    ],
)
def test_a_bad_setting_is_refused_and_changes_nothing(served, path, given, status, error):
    answer = post(served, path, given)
    assert answer[0] == status
    assert error in answer[1]["error"]
    assert json.loads(served.ask("GET", path).body) == (LOG if path == "/v2/logging" else TRACE)


def test_an_unknown_model_is_refused_before_its_settings(served):
    assert post(served, "/v2/models/absent/trace/setting", {"trace_rate": "x"})[0] in {400, 404}
