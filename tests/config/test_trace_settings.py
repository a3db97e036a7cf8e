"""tritonserver's flags of tracing become one object; mistakes are named in its words, passwords are not shown."""

from __future__ import annotations

import pytest

from slipway.config.options import parse_options
from slipway.config.trace_settings import (
    DeprecatedFlags,
    TraceOptions,
    trace_options,
    trace_problems,
    without_password,
)
from slipway.errors import SlipwayError


def parsed(*flags: str):
    return parse_options(["models", *(f"--trace-config={flag}" for flag in flags)])


def test_without_flags_nothing_is_traced_and_nothing_can_be():
    options = parsed().tracing
    assert options == TraceOptions()
    assert not options.possible


def test_each_setting_of_triton_mode_is_read():
    options = parsed(
        "triton,file=traces/a,b=c.json", "triton,log-frequency=50", "rate=100", "level=TENSORS", "level=max", "count=7"
    )
    assert options.tracing == TraceOptions(
        levels=("TIMESTAMPS", "TENSORS"), rate=100, count=7, file="traces/a,b=c.json", log_frequency=50
    )
    assert options.warnings == ()


def test_off_wins_over_other_levels():
    assert parsed("level=TIMESTAMPS", "level=off").tracing.levels == ()


def test_opentelemetry_has_its_settings_and_shows_them_without_a_password(monkeypatch):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "70")
    options = parsed(
        "mode=OpenTelemetry",
        "opentelemetry,url=https://user:secret@collector:4318/v1/traces",
        "opentelemetry,resource=service.name=ship",
        "opentelemetry,resource=a=b=c",
        "opentelemetry,bsp_max_queue_size=9",
        "opentelemetry,bsp_max_export_batch_size=9",
    ).tracing
    assert options.possible
    assert (options.queue_size, options.schedule_delay, options.batch_size) == (9, 70, 9)
    assert options.resource == (("service.name", "ship"), ("a", "b=c"))
    assert options.url == "https://user:secret@collector:4318/v1/traces"
    assert dict(options.shown) == {
        "url": "https://collector:4318/v1/traces",
        "resource": "service.name=ship,a=b=c",
        "bsp_max_queue_size": "9",
        "bsp_schedule_delay": "70",
        "bsp_max_export_batch_size": "9",
    }
    assert "secret" not in str(options.shown)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("level=low", "invalid value for trace level option: low"),
        ("mode=zipkin", "invalid value for trace mode option: zipkin"),
        ("zipkin,url=a", 'Available options are "triton" and "opentelemetry"'),
        (",rate=1", "No trace mode specified. --trace-config option format is <trace mode>,<setting>=<value> or"),
        ("rate", "--trace-config option format is '<trace mode>,<setting>=<value>'. Got rate"),
        ("triton,file=", "--trace-config option format is '<trace mode>,<setting>=<value>'. Got triton,file="),
        ("rate=x", "Invalid option value. Got x"),
        ("rate=-1", "Provided option value is out of bound. Got -1"),
        ("count=-2", "Provided option value is out of bound. Got -2"),
        ("rats=1", "global tracing does not have a setting 'rats'; did you mean 'rate'?"),
        ("triton,flie=a", "triton tracing does not have a setting 'flie'; did you mean 'file'?"),
        ("opentelemetry,resource=a", "a resource attribute is <key>=<value>. Got a"),
        ("opentelemetry,url=localhost:4318", "expected a URL that begins with http:// or https://"),
        ("opentelemetry,bsp_max_queue_size=0", "Provided option value is out of bound. Got 0"),
    ],
)
def test_a_mistake_is_named(given, message):
    with pytest.raises(SlipwayError) as caught:
        parsed(given)
    assert caught.value.message.startswith('Bad option: "--trace-config". ')
    assert message in caught.value.message


def test_sizes_that_do_not_go_together_are_refused():
    with pytest.raises(SlipwayError, match="bsp_max_export_batch_size=512 is more than bsp_max_queue_size=100"):
        parsed("mode=opentelemetry", "opentelemetry,bsp_max_queue_size=100")


def test_a_variable_of_the_environment_that_is_not_a_number_is_named():
    problems = list(trace_problems((), DeprecatedFlags(), {"OTEL_BSP_MAX_QUEUE_SIZE": "many"}))
    assert problems == ['Bad option: "OTEL_BSP_MAX_QUEUE_SIZE". Invalid option value. Got many']
    given = (("opentelemetry", "bsp_max_queue_size", "600"),)
    assert list(trace_problems(given, DeprecatedFlags(), {"OTEL_BSP_MAX_QUEUE_SIZE": "many"})) == []


def test_deprecated_flags_work_with_a_warning_and_give_way():
    options = parse_options(
        ["models", "--trace-file=a", "--trace-level=TIMESTAMPS", "--trace-rate=5", "--trace-count=6",
         "--trace-log-frequency=7", "--trace-config=rate=1"]
    )  # fmt: skip
    assert options.tracing == TraceOptions(levels=("TIMESTAMPS",), rate=1, count=6, file="a", log_frequency=7)
    assert options.warnings == (
        "--trace-file is deprecated; use --trace-config=triton,file=VALUE",
        "--trace-level is deprecated; use --trace-config=level=VALUE",
        "--trace-rate is deprecated; use --trace-config=rate=VALUE",
        "--trace-rate has no effect: --trace-config=rate overrides it",
        "--trace-count is deprecated; use --trace-config=count=VALUE",
        "--trace-log-frequency is deprecated; use --trace-config=triton,log-frequency=VALUE",
    )


@pytest.mark.parametrize(
    ("flags", "warning"),
    [
        (("level=TIMESTAMPS",), "no requests are traced without a file: --trace-config=triton,file=FILE"),
        (("rate=1",), "no requests are traced without a file: --trace-config=triton,file=FILE"),
        (
            ("mode=opentelemetry", "triton,file=a"),
            "--trace-config=triton,file has no effect in mode opentelemetry",
        ),
        (
            ("mode=opentelemetry", "level=TENSORS"),
            "tensors are traced only in mode triton, not in mode opentelemetry",
        ),
    ],
)
def test_a_setting_without_effect_is_named(flags, warning):
    assert parsed(*flags).warnings == (warning,)


def test_a_url_without_password_stays_as_it_is():
    assert without_password("http://[::1]:4318/v1/traces?a=b") == "http://[::1]:4318/v1/traces?a=b"
    assert trace_options((), DeprecatedFlags(), {}).url == "http://localhost:4318/v1/traces"
