"""Log lines as tritonserver writes them."""

from __future__ import annotations

import json
import logging

import pytest

from slipway.cli.log_format import TABLE, LogFormatter, SeverityFilter, TritonFormatter, install_logging
from slipway.core.log_settings import LogSettings
from slipway.errors import SlipwayError


def record(message: str = "hello", level: int = logging.INFO, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("slipway.test", level, "/somewhere/engine.py", 123, message, (), None)
    made.created, made.process = 1716235405.829575, 3355
    made.__dict__.update(extra)
    return made


@pytest.mark.parametrize(
    ("level", "letter"), [(logging.DEBUG, "I"), (logging.INFO, "I"), (logging.WARNING, "W"), (logging.ERROR, "E")]
)
def test_the_default_line_has_severity_time_process_and_source(level, letter):
    line = TritonFormatter().format(record(level=level))
    assert line == f'{letter}0520 20:03:25.829575 3355 engine.py:123] "hello"'


def test_the_iso8601_line_has_seconds_in_utc():
    assert TritonFormatter("ISO8601").format(record()) == '2024-05-20T20:03:25Z I 3355 engine.py:123] "hello"'


def test_a_message_cannot_forge_a_line():
    line = TritonFormatter().format(record('x"\nE0520 20:03:25.000000 1 a.py:1] "forged \x1b[31m'))
    assert "\n" not in line
    assert "\x1b" not in line
    assert line.endswith(r'"x\"\nE0520 20:03:25.000000 1 a.py:1] \"forged \u001b[31m"')


def test_escaping_can_be_switched_off():
    assert TritonFormatter(escape=False).format(record("a\nb")).endswith("engine.py:123] a\nb")


def test_a_table_is_printed_as_it_stands():
    assert TritonFormatter().format(record("+--+\n|  |", **TABLE)).endswith("engine.py:123] \n+--+\n|  |\n")


@pytest.mark.parametrize(
    ("switched_off", "level"), [("info", logging.INFO), ("warning", logging.WARNING), ("error", logging.ERROR)]
)
def test_each_severity_can_be_switched_off(switched_off, level):
    switches = {"info": True, "warning": True, "error": True, switched_off: False}
    severities = SeverityFilter(LogSettings(verbose=0, **switches))
    assert not severities.filter(record(level=level))
    assert not severities.filter(record(level=logging.DEBUG))
    assert SeverityFilter(LogSettings(verbose=1, **switches)).filter(record(level=logging.DEBUG))


def test_a_log_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(SlipwayError, match=r"--log-file: cannot write '.*/absent/log': No such file or directory"):
        install_logging(LogSettings(file=str(tmp_path / "absent" / "log")))


def test_json_lines_have_the_fields_of_a_request_as_members():
    settings = LogSettings(format="json")
    line = LogFormatter(settings).format(record('a\n"b"', level=logging.WARNING, fields={"model": "m"}))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2024-05-20T20:03:25.829575Z",
        "severity": "WARNING",
        "process": 3355,
        "source": "engine.py:123",
        "logger": "slipway.test",
        "message": 'a\n"b"',
        "fields": {"model": "m"},
    }


def test_the_form_changes_with_the_settings():
    settings = LogSettings()
    formatter = LogFormatter(settings)
    assert formatter.format(record()).startswith("I0520")
    settings.format = "ISO8601"
    assert formatter.format(record()).startswith("2024-05-20T20:03:25Z I ")


def test_json_lines_keep_tracebacks():
    failed = record()
    error = ValueError("inner")
    failed.exc_info = (ValueError, error, None)
    assert "ValueError: inner" in json.loads(LogFormatter(LogSettings(format="json")).format(failed))["traceback"]
