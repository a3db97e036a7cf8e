"""The context of a trace across processes: the headers `traceparent` and `tracestate` (W3C Trace Context). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import getrandbits
from typing import Final

import orjson

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
_FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_VERSION: Final = "00"
_INVALID_VERSION: Final = "ff"
_SAMPLED: Final = 1
_MAX_STATE: Final = 512  # characters that everybody has to pass on (3.3.1.5)
_STATE: Final = re.compile(r"[\x20-\x7e\t]*")


@dataclass(frozen=True, slots=True)
class RemoteContext:
    """The span of a client under which the request was made; `is_sampled` says whether the client records it."""

    trace_id: int
    span_id: int
    is_sampled: bool
    state: str = ""


def read_context(traceparent: str, tracestate: str = "") -> RemoteContext | None:
    """Return the context in a request's headers; None if there is none that is valid."""
    match = _FORM.fullmatch(traceparent.strip())
    if match is None or match[1] == _INVALID_VERSION or (match[1] == _VERSION and match[5] is not None):
        return None
    trace_id, span_id = int(match[2], 16), int(match[3], 16)
    if not (trace_id and span_id):
        return None
    state = tracestate if len(tracestate) <= _MAX_STATE and _STATE.fullmatch(tracestate) else ""
    return RemoteContext(trace_id, span_id, bool(int(match[4], 16) & _SAMPLED), state)


def new_trace_id() -> int:
    """Return a random id of a trace, never 0."""
    return getrandbits(128) or 1


def new_span_id() -> int:
    """Return a random id of a span, never 0."""
    return getrandbits(64) or 1


def write_context(trace_id: int, span_id: int, state: str) -> str:
    """Return the context as JSON, as NVIDIA Triton gives it to Python models (`InferenceTrace.get_context`)."""
    context = {TRACEPARENT: f"{_VERSION}-{trace_id:032x}-{span_id:016x}-01"}
    if state:
        context[TRACESTATE] = state
    return orjson.dumps(context).decode()
