"""Sends the traces of the server to a collector, as spans in batches (OTLP over HTTP)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from slipway.tracing.context import new_span_id
from slipway.tracing.exporting.messages import ExportSettings, Reports, decode_traces
from slipway.tracing.exporting.span_queue import SpanQueue
from slipway.tracing.exporting.spans import SpanMaker, span_count

_SERVICE: Final = "triton-inference-server"  # as NVIDIA Triton names itself
_UNNAMED: Final = "unknown_service"  # the SDK's own name, if neither a flag nor the environment gives one


class LastMessage(logging.Handler):
    """Keeps the last message that the exporter logged: its reason."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        self.text = record.getMessage()


def resource_of(given: Iterable[tuple[str, str]]) -> Resource:
    """Return the server as a resource: attributes of flags before those of the environment."""
    attributes: dict[str, Any] = dict(given)
    resource = Resource.create(attributes)
    if str(resource.attributes.get("service.name", _UNNAMED)).startswith(_UNNAMED):
        return Resource.create({"service.name": _SERVICE, **attributes})
    return resource


def _export(queue: SpanQueue[ReadableSpan], exporter: OTLPSpanExporter, last: LastMessage, reports: Reports) -> None:
    """Export until the queue is closed and empty."""
    while not queue.is_finished:
        batch = queue.take()
        if not batch:
            continue
        last.text = ""
        if exporter.export(batch) is SpanExportResult.SUCCESS:
            reports.send(sent=len(batch))
        else:
            reports.send(lost=len(batch), reason=last.text)


def export_as_spans(settings: ExportSettings, batches: Iterable[Sequence[bytes]], reports: Reports) -> None:
    """Export every trace, and what is left at the end."""
    last = LastMessage()
    logging.basicConfig(handlers=[last], level=logging.WARNING, force=True)
    queue: SpanQueue[ReadableSpan] = SpanQueue(settings.queue_size, settings.batch_size, settings.schedule_delay / 1000)
    exporter = OTLPSpanExporter(endpoint=settings.url)
    exporting = threading.Thread(target=_export, args=(queue, exporter, last, reports), daemon=True)
    exporting.start()
    maker = SpanMaker(resource_of(settings.resource), new_span_id)
    for messages in batches:
        lost = 0
        for message in messages:
            for trace in decode_traces(message):
                # Making spans takes longer than most requests: none are made for a queue that has no room for them.
                lost += span_count(trace) if queue.is_full else queue.put(maker.spans(trace))
        if lost:
            reports.send(lost=lost, reason=f"more than {settings.queue_size} spans wait for their export")
    queue.close()
    exporting.join()
