"""The two ends of the exporting process's streams: messages with traces in, lines about them out."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Final

import msgspec
import orjson

from slipway.tracing.record import SIZE_BYTES, TraceRecord

_READ: Final = 1 << 20  # bytes


class ExportSettings(msgspec.Struct):
    """The first message: where traces go. A `file`, or a collector's `url` with what `TraceOptions` say about it."""

    file: str = ""
    url: str = ""
    resource: tuple[tuple[str, str], ...] = ()
    queue_size: int = 0
    batch_size: int = 0
    schedule_delay: int = 0


def read_messages(descriptor: int) -> Iterator[list[bytes]]:
    """Yield the messages of a stream, those that came together in one list, until it ends."""
    buffer = bytearray()
    while data := os.read(descriptor, _READ):
        buffer += data
        messages, start = [], 0
        while len(buffer) - start >= SIZE_BYTES:
            begin = start + SIZE_BYTES
            end = begin + int.from_bytes(buffer[start:begin], "little")
            if end > len(buffer):
                break
            messages.append(bytes(buffer[begin:end]))
            start = end
        del buffer[:start]
        if messages:
            yield messages


decode_traces: Final = msgspec.msgpack.Decoder(list[TraceRecord]).decode
decode_settings: Final = msgspec.msgpack.Decoder(ExportSettings).decode


class Reports:
    """Writes to the server what became of traces or spans. Thread-safe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def send(self, sent: int = 0, lost: int = 0, reason: str = "") -> None:
        """Report how many arrived and how many are lost, and why."""
        line = orjson.dumps({"sent": sent, "lost": lost, "reason": reason}) + b"\n"
        with self._lock:
            os.write(self._descriptor, line)
