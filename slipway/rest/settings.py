"""The settings of tracing and logging: GET shows them, POST changes them. Source: Triton's extension_trace.md,
extension_logging.md, and http_server.cc for the texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from slipway.core.log_settings import FORMATS, Value
from slipway.errors import SlipwayError, internal, shown, unavailable
from slipway.rest.context import Context, ModelTarget
from slipway.rest.exchange import Exchange
from slipway.rest.response import JSON
from slipway.wire.json_text import (
    MAX_UNSIGNED,
    NON_ARRAY,
    NON_BOOLEAN,
    NON_STRING,
    NON_UNSIGNED,
    parse_object,
)

_LEVEL: Final = "trace_level"


def trace(context: Context, exchange: Exchange, target: ModelTarget) -> None:
    """Answer /v2/trace/setting and /v2/models/NAME/trace/setting."""
    dataplane = context.dataplane
    if exchange.method == b"POST":
        dataplane.trace_settings(target.model)  # an unknown model is refused first
        settings = dataplane.trace_settings(target.model, _trace_changes(parse_object(exchange.text())))
    else:
        settings = dataplane.trace_settings(target.model)
    document = {name: list(values) if name == _LEVEL else values[0] for name, values in settings.items()}
    exchange.answer(200, JSON, orjson.dumps(document))


def logging(context: Context, exchange: Exchange, _: ModelTarget) -> None:
    """Answer /v2/logging."""
    settings = context.dataplane.log_settings
    if exchange.method == b"POST":
        settings.update(_log_changes(parse_object(exchange.text())))
    exchange.answer(200, JSON, orjson.dumps(settings.shown()))


def _trace_changes(members: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    """Return the values that a document gives each setting: none for null, which clears it."""
    return {name: () if value is None else _texts(name, value) for name, value in members.items()}


def _texts(name: str, value: Any) -> Sequence[str]:
    if name == _LEVEL and not isinstance(value, list):
        raise internal(NON_ARRAY)
    texts = value if name == _LEVEL else [value]
    if not all(isinstance(text, str) for text in texts):
        raise internal(NON_STRING)
    return tuple(texts)


def _log_changes(members: Mapping[str, Any]) -> dict[str, Value]:
    """Return the values that a document gives; null changes nothing."""
    given = {name: value for name, value in members.items() if value is not None}
    if "log_file" in given:  # refused before all others, whatever they are
        return given
    for name, value in given.items():
        problem = _log_problem(name, value)
        if problem is not None:
            raise problem
    return given


def _log_problem(name: str, value: Any) -> SlipwayError | None:
    if name in {"log_info", "log_warning", "log_error"} and not isinstance(value, bool):
        return internal(NON_BOOLEAN)
    if name == "log_verbose_level" and not (type(value) is int and 0 <= value <= MAX_UNSIGNED):
        return internal(NON_UNSIGNED)
    if name == "log_format":
        if not isinstance(value, str):
            return internal(NON_STRING)
        if value not in FORMATS:
            return unavailable(f"invalid argument for --log_format, got: {shown(value)}")
    return None
