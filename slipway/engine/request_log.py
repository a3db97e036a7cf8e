"""The log lines of single requests, with `--log-verbose`: what was asked of which model and what became of it, in
microseconds. Never tensors, parameters or headers.

    request id="7" model="simple" version=1 rows=1 queue_us=12 compute_us=310 total_us=335 responses=1 outcome=ok
"""

from __future__ import annotations

import json
import logging
from time import monotonic_ns
from typing import Final

from slipway.core.request import InferRequest, InferResponse
from slipway.core.statistics import Timing
from slipway.core.watched import Watcher
from slipway.errors import SlipwayError, shown

_LOG: Final = logging.getLogger("slipway.requests")
_NS_PER_US: Final = 1000


class RequestLog:
    """Follows one accepted request and logs its end. Implements `core.watched.Watcher`."""

    __slots__ = ("_arrival_ns", "_compute_ns", "_end_ns", "_error", "_fields", "_start_ns")

    def __init__(self, request: InferRequest, version: int, rows: int, arrival_ns: int, namespace: str = "") -> None:
        self._fields: dict[str, object] = {**_names(request), "version": version, "rows": rows}
        if namespace:
            self._fields["namespace"] = namespace
        self._arrival_ns = arrival_ns
        self._end_ns = arrival_ns
        self._start_ns = 0  # of the first execution
        self._compute_ns = 0  # of all executions
        self._error: SlipwayError | None = None

    def arrived(self) -> None:
        """Log that the request is accepted."""
        _log("request accepted", self._fields)

    def executed(self, timing: Timing) -> None:
        """Add the times of an execution."""
        self._start_ns = self._start_ns or timing.start
        self._compute_ns += timing.end - timing.start

    def responded(self, response: InferResponse) -> None:
        """Note a failure, and the time of the final response."""
        if response.error is not None:
            self._error = response.error
        self._end_ns = monotonic_ns()

    def ended(self, responses: int) -> None:
        """Log the request."""
        fields = self._fields
        if self._start_ns:
            fields["queue_us"] = (self._start_ns - self._arrival_ns) // _NS_PER_US
            fields["compute_us"] = self._compute_ns // _NS_PER_US
        fields["total_us"] = (self._end_ns - self._arrival_ns) // _NS_PER_US
        fields["responses"] = responses
        _log("request", fields | _outcome(self._error))


def log_refusal(request: InferRequest, error: SlipwayError) -> None:
    """Log a request that no model accepted."""
    _log("request", _names(request) | _outcome(error))


class Watchers:
    """Several watchers of one request. Implements `core.watched.Watcher`."""

    __slots__ = ("_watchers",)

    def __init__(self, *watchers: Watcher) -> None:
        self._watchers = watchers

    def executed(self, timing: Timing) -> None:
        """Pass the times on."""
        for watcher in self._watchers:
            watcher.executed(timing)

    def responded(self, response: InferResponse) -> None:
        """Pass a response on."""
        for watcher in self._watchers:
            watcher.responded(response)

    def ended(self, responses: int) -> None:
        """Pass the end on."""
        for watcher in self._watchers:
            watcher.ended(responses)


def _names(request: InferRequest) -> dict[str, object]:
    return {"id": shown(request.id), "model": shown(request.model_name), "version": shown(request.model_version)}


def _outcome(error: SlipwayError | None) -> dict[str, object]:
    return {"outcome": "ok"} if error is None else {"outcome": error.code.name, "error": shown(error.message)}


def _log(what: str, fields: dict[str, object]) -> None:
    """Log fields. Strings are quoted, so that no client can forge a field; in form json the fields are members."""
    text = " ".join(f"{name}={json.dumps(value)}" for name, value in fields.items())
    _LOG.debug("%s %s", what, text, extra={"fields": fields})
