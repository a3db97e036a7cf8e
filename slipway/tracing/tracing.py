"""The tracing of one server: which requests are traced, where their traces go, and the settings that clients see.

The fronts ask `begin` for each request while `active` is true; otherwise tracing costs them a look at `active`. All
methods run on the event-loop thread. Implements `trace.Traces`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from weakref import WeakValueDictionary

from slipway.config.trace_settings import OPENTELEMETRY, TraceOptions
from slipway.core.metrics import Metric, MetricRegistry
from slipway.tracing.context import read_context
from slipway.tracing.process import TraceProcess, require_opentelemetry
from slipway.tracing.record import encode_trace
from slipway.tracing.settings import Given, TraceSettings, read_changes
from slipway.tracing.trace import RequestTrace, TraceContext, TraceRoot
from slipway.tracing.writer import Writer

_CLOSE_S: Final = 5.0  # for what is not written yet: a file or a collector may hang
_WRITTEN: Final = ("slipway_trace_written_count", "Number of traces written to files, or of spans sent to a collector")
_LOST: Final = ("slipway_trace_lost_count", "Number of traces or spans that could not be written or sent")


@dataclass(frozen=True, slots=True)
class _TraceMetrics:
    """The metrics of a server that can trace. Implements `writer.Counts`."""

    written_count: Metric
    lost_count: Metric

    @classmethod
    def of(cls, metrics: MetricRegistry) -> _TraceMetrics:
        """Return the metrics, which appear at once."""
        return cls(*(metrics.family(name, text, "counter").metric({}) for name, text in (_WRITTEN, _LOST)))

    def written(self, count: int) -> None:
        """Count what was written or sent."""
        self.written_count.increment(count)

    def lost(self, count: int) -> None:
        """Count what was lost."""
        self.lost_count.increment(count)


class Tracing:
    """Construct it with the options and the server's metrics; `await close()` writes what is left."""

    def __init__(self, options: TraceOptions, metrics: MetricRegistry) -> None:
        self.options = options
        self._settings = TraceSettings(options)
        self.active = self._settings.active
        self._known: WeakValueDictionary[int, RequestTrace] = WeakValueDictionary()  # by models in other processes
        self.has_context = options.mode == OPENTELEMETRY
        self._writer: Writer[bytes] | None = None
        if self.has_context:
            require_opentelemetry()
        if options.possible:
            counts = _TraceMetrics.of(metrics)
            self._writer = Writer(TraceProcess(options, counts), counts)

    # Requests

    def begin(self, model: str, traceparent: str = "", tracestate: str = "") -> RequestTrace | None:
        """Return the trace of a request to `model` that arrives now with these headers; None if it is not traced."""
        if not self.has_context:
            setting = self._settings.sample(model)
            return None if setting is None else RequestTrace(TraceRoot(setting, None, self))
        remote = read_context(traceparent, tracestate) if traceparent else None
        setting = self._settings.sample(model, forced=remote is not None and remote.is_sampled)
        return None if setting is None else RequestTrace(TraceRoot(setting, TraceContext(remote), self))

    def child_of(self, number: int) -> RequestTrace | None:
        """Return the trace of a request that a model makes for one with the trace `number`; None if that has ended."""
        parent = self._known.get(number)
        return parent.child() if parent is not None and parent.root.open else None

    def know(self, trace: RequestTrace) -> None:
        """Let a request's trace be found by its number, as long as it lives."""
        self._known[trace.number] = trace

    def completed(self, root: TraceRoot) -> None:
        """Pass on a trace in which nothing is open any more."""
        root.setting.completed += 1
        if self._writer is not None:
            trace = encode_trace(root)
            self._writer.add(trace, len(trace))
        root.requests = []  # a cycle of references

    # Settings

    def settings(self, model: str) -> Mapping[str, tuple[str, ...]]:
        """Return the setting of a model ("" for the global one) as the protocol shows it."""
        return self._settings.shown(model)

    def update(self, model: str, given: Given) -> None:
        """Change a setting; raise `SlipwayError` with Triton's texts."""
        self._settings.update(model, read_changes(given, self._settings.shown(model)))
        self.active = self._settings.active

    async def close(self) -> None:
        """Write what is left; what takes too long is lost."""
        if self._writer is not None:
            await asyncio.to_thread(self._writer.close, _CLOSE_S)
