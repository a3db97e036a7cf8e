"""Writes the traces that the server sends to files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from slipway.tracing.exporting.messages import Reports, decode_traces
from slipway.tracing.exporting.trace_files import TraceFiles


def export_to_files(path: str, batches: Iterable[Sequence[bytes]], reports: Reports) -> None:
    """Write every trace; report after each message."""
    files = TraceFiles(path)
    for messages in batches:
        for message in messages:
            reports.send(*files.write(decode_traces(message)))
    files.close()
