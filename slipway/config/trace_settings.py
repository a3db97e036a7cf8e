"""tritonserver's `--trace-config` and the deprecated `--trace-*` flags: read, gathered, checked. Traces nothing.

The format, the defaults and the errors are tritonserver's (`command_line_parser.cc`, docs/user_guide/trace.md).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from slipway.config.exposure import ExposureOptions
from slipway.config.flags import TEXT, Kind, option, whole
from slipway.nearest import nearest_or_all

TRITON: Final = "triton"
OPENTELEMETRY: Final = "opentelemetry"
MODES: Final = (TRITON, OPENTELEMETRY)
TIMESTAMPS: Final = "TIMESTAMPS"
TENSORS: Final = "TENSORS"
LEVELS: Final = (TIMESTAMPS, TENSORS)

Setting = tuple[str, str, str]  # mode ("" for all), name, value

_INT32: Final = 2**31 - 1
_LEVEL_WORDS: Final = {
    **dict.fromkeys(("false", "off"), ""),
    **dict.fromkeys(("true", "on", "min", "max", "timestamps"), TIMESTAMPS),
    "tensors": TENSORS,
}
RATE: Final = whole(0, _INT32)
COUNT: Final = whole(-1, _INT32)
_SIZE: Final = whole(1, _INT32)
# The names of each mode's settings.
_NAMES: Final = {
    "": ("rate", "level", "count", "mode"),
    TRITON: ("file", "log-frequency"),
    OPENTELEMETRY: ("url", "resource", "bsp_max_queue_size", "bsp_schedule_delay", "bsp_max_export_batch_size"),
}
# Size of OpenTelemetry's batches -> its environment variable and default (OpenTelemetry specification, SDK
# environment variables).
_BATCHES: Final = {
    "bsp_max_queue_size": ("OTEL_BSP_MAX_QUEUE_SIZE", 2048),
    "bsp_schedule_delay": ("OTEL_BSP_SCHEDULE_DELAY", 5000),
    "bsp_max_export_batch_size": ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512),
}
_URL: Final = "http://localhost:4318/v1/traces"
# Deprecated flag -> what replaces it.
_DEPRECATED: Final = {
    "trace_file": "triton,file",
    "trace_level": "level",
    "trace_rate": "rate",
    "trace_count": "count",
    "trace_log_frequency": "triton,log-frequency",
}


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """How requests are traced. `levels` is empty (off) or some of `LEVELS`; one of `rate` requests is traced (0: only
    those with a trace context); `count` limits the traces, -1 does not; `resource` are attributes of the server."""

    mode: str = TRITON
    levels: tuple[str, ...] = ()
    rate: int = 1000
    count: int = -1
    file: str = ""
    log_frequency: int = 0
    url: str = _URL
    resource: tuple[tuple[str, str], ...] = ()
    queue_size: int = 2048  # spans
    schedule_delay: int = 5000  # milliseconds
    batch_size: int = 512  # spans
    shown: tuple[tuple[str, str], ...] = ()  # further settings, as the protocol shows them

    @property
    def possible(self) -> bool:
        """Whether there is somewhere to send traces to, so that they can be turned on."""
        return self.mode == OPENTELEMETRY or bool(self.file)


def _read_setting(text: str) -> Setting:
    mode, comma, rest = text.partition(",")
    if not comma or "=" in mode:  # a comma in the value does not make a mode
        mode, rest = "", text
    elif not mode:
        raise ValueError(
            "No trace mode specified. --trace-config option format is <trace mode>,<setting>=<value> or "
            f"<setting>=<value>. Got {text}"
        )
    name, equals, value = rest.partition("=")
    if mode and mode.lower() not in MODES:
        raise ValueError(_unknown_mode(mode))
    if not equals or not name or not value:
        raise ValueError(f"--trace-config option format is '<trace mode>,<setting>=<value>'. Got {text}")
    mode = mode.lower()
    _check_setting(mode, name, value)
    return mode, name, value


def _check_setting(mode: str, name: str, value: str) -> None:
    known = _NAMES[mode]
    if name not in known:
        hint = nearest_or_all(name, known)
        raise ValueError(f"{mode or 'global'} tracing does not have a setting '{name}'{hint}")
    if name == "level":
        _read_level(value)
    elif name == "mode" and value.lower() not in MODES:
        raise ValueError(_unknown_mode(value))
    elif name == "resource" and "=" not in value:
        raise ValueError(f"a resource attribute is <key>=<value>. Got {value}")
    elif name == "url" and urlsplit(value).scheme not in {"http", "https"}:
        raise ValueError(f"expected a URL that begins with http:// or https://. Got {value}")
    elif (number := _number(name)) is not None:
        number.read(value)


def _number(name: str) -> Kind | None:
    if name in _BATCHES:
        return _SIZE
    return {"rate": RATE, "count": COUNT, "log-frequency": RATE}.get(name)


def _unknown_mode(mode: str) -> str:
    return f'invalid value for trace mode option: {mode}. Available options are "triton" and "opentelemetry"'


def _read_level(text: str) -> str:
    level = _LEVEL_WORDS.get(text.lower())
    if level is None:
        raise ValueError(f"invalid value for trace level option: {text}")
    return level


def _masked(text: str) -> str:
    name, equals, value = text.partition("=")
    return f"{name}{equals}{without_password(value)}" if name.endswith("url") else text


SETTING: Final = Kind("[MODE,]SETTING=VALUE", _read_setting, _masked)
LEVEL: Final = Kind("LEVEL", _read_level)


@dataclass(frozen=True, slots=True)
class DeprecatedFlags:
    """The values of the deprecated flags; None for one that is not given."""

    trace_file: str | None = None
    trace_level: tuple[str, ...] | None = None
    trace_rate: int | None = None
    trace_count: int | None = None
    trace_log_frequency: int | None = None


_traces = partial(option, "Tracing")


@dataclass(frozen=True, slots=True)
class TracingFlags(ExposureOptions):
    """The flags of tracing, and those before them."""

    trace_config: tuple[Setting, ...] = _traces(
        (), SETTING,
        "trace requests: level=TIMESTAMPS or TENSORS, rate=N (one of N), count=N and triton,file=FILE, or "
        "mode=opentelemetry and opentelemetry,url=URL, with NVIDIA Triton's other settings",
        gather=tuple,
    )  # fmt: skip
    trace_file: str | None = _traces(None, TEXT, "deprecated: the same as --trace-config=triton,file=TEXT")
    trace_level: tuple[str, ...] | None = _traces(
        None, LEVEL, "deprecated: the same as --trace-config=level=LEVEL", gather=tuple
    )
    trace_rate: int | None = _traces(None, RATE, "deprecated: the same as --trace-config=rate=N")
    trace_count: int | None = _traces(None, COUNT, "deprecated: the same as --trace-config=count=N")
    trace_log_frequency: int | None = _traces(
        None, RATE, "deprecated: the same as --trace-config=triton,log-frequency=N"
    )

    @property
    def old_tracing(self) -> DeprecatedFlags:
        """The values of the deprecated flags."""
        return DeprecatedFlags(
            self.trace_file, self.trace_level, self.trace_rate, self.trace_count, self.trace_log_frequency
        )

    @property
    def tracing(self) -> TraceOptions:
        """How requests are traced."""
        return trace_options(self.trace_config, self.old_tracing)


def trace_options(
    settings: Sequence[Setting], flags: DeprecatedFlags, environment: Mapping[str, str] = os.environ
) -> TraceOptions:
    """Return the options of flags without problems; `--trace-config` takes precedence over a deprecated flag."""
    given = {(mode, name): value for mode, name, value in settings}
    levels = [_read_level(value) for _, name, value in settings if name == "level"]
    levels += flags.trace_level or ()
    batches = {name: int(_batch_size(name, given, environment)) for name in _BATCHES}
    mode = given.get(("", "mode"), TRITON).lower()
    return TraceOptions(
        mode=mode,
        levels=() if "" in levels else tuple(level for level in LEVELS if level in levels),
        rate=int(given.get(("", "rate"), _or(flags.trace_rate, 1000))),
        count=int(given.get(("", "count"), _or(flags.trace_count, -1))),
        file=given.get((TRITON, "file"), flags.trace_file or ""),
        log_frequency=int(given.get((TRITON, "log-frequency"), _or(flags.trace_log_frequency, 0))),
        url=given.get((OPENTELEMETRY, "url"), _URL),
        resource=tuple(
            (key, text)
            for of_mode, name, value in settings
            if (of_mode, name) == (OPENTELEMETRY, "resource")
            for key, _, text in [value.partition("=")]
        ),
        queue_size=batches["bsp_max_queue_size"],
        schedule_delay=batches["bsp_schedule_delay"],
        batch_size=batches["bsp_max_export_batch_size"],
        shown=tuple(_shown(settings, batches)) if mode == OPENTELEMETRY else (),
    )


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _batch_size(name: str, given: Mapping[tuple[str, str], str], environment: Mapping[str, str]) -> str:
    variable, default = _BATCHES[name]
    return given.get((OPENTELEMETRY, name)) or environment.get(variable) or str(default)


def _shown(settings: Iterable[Setting], batches: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Yield the settings of OpenTelemetry, without the password of a URL."""
    given = [(name, value) for mode, name, value in settings if mode == OPENTELEMETRY]
    urls = [value for name, value in given if name == "url"]
    resource = [value for name, value in given if name == "resource"]
    if urls:
        yield "url", without_password(urls[-1])
    if resource:
        yield "resource", ",".join(resource)
    for name, size in batches.items():
        yield name, str(size)


def without_password(url: str) -> str:
    """Return a URL without user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def trace_problems(
    settings: Sequence[Setting], flags: DeprecatedFlags, environment: Mapping[str, str] = os.environ
) -> Iterator[str]:
    """Yield what is wrong with settings that are right each for itself."""
    for name, (variable, _) in _BATCHES.items():
        text = environment.get(variable)
        if text and (OPENTELEMETRY, name) not in {(mode, setting) for mode, setting, _ in settings}:
            try:
                _SIZE.read(text)
            except ValueError as error:
                yield f'Bad option: "{variable}". {error}'
                return
    options = trace_options(settings, flags, environment)
    if options.mode == OPENTELEMETRY and options.batch_size > options.queue_size:
        yield (
            f"--trace-config: opentelemetry,bsp_max_export_batch_size={options.batch_size} is more than "
            f"bsp_max_queue_size={options.queue_size}"
        )


def trace_warnings(settings: Sequence[Setting], flags: DeprecatedFlags) -> Iterator[str]:
    """Yield the warnings about deprecated flags, and about settings of the mode that is not used."""
    given = {f"{mode},{name}".removeprefix(",") for mode, name, _ in settings}
    for flag, setting in _DEPRECATED.items():
        if getattr(flags, flag) is not None:
            name = flag.replace("_", "-")
            yield f"--{name} is deprecated; use --trace-config={setting}=VALUE"
            if setting in given:
                yield f"--{name} has no effect: --trace-config={setting} overrides it"
    options = trace_options(settings, flags)
    for mode, name, _ in settings:
        if mode and mode != options.mode:
            yield f"--trace-config={mode},{name} has no effect in mode {options.mode}"
    if (settings or options.levels) and not options.possible:
        yield "no requests are traced without a file: --trace-config=triton,file=FILE"
    if options.mode == OPENTELEMETRY and TENSORS in options.levels:
        yield "tensors are traced only in mode triton, not in mode opentelemetry"
