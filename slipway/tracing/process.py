"""The server's end of the exporting process: passes traces on, and counts and logs what became of them.

A fault is logged once, and its end too. If the process dies, it is started again with the next trace, but not more
often than every `_RESTART_S`.
"""

from __future__ import annotations

import fcntl
import logging
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from time import monotonic
from typing import IO, Final
from urllib.parse import urlsplit

import msgspec

from slipway.config.trace_settings import OPENTELEMETRY, TraceOptions, without_password
from slipway.errors import unsupported
from slipway.installation import install_hint
from slipway.tracing.exporting.messages import ExportSettings
from slipway.tracing.record import SIZE_BYTES, pack_messages
from slipway.tracing.writer import Counts

_LOG: Final = logging.getLogger("slipway.tracing")
_MODULE: Final = "slipway.tracing.exporting"
_LIBRARIES: Final = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
_RESTART_S: Final = 5.0
_PIPE_BYTES: Final = 1 << 20
_CLOSE_S: Final = 3.0  # for what is not written yet


def require_opentelemetry() -> None:
    """Raise UNSUPPORTED if the libraries of mode opentelemetry are not installed."""
    try:
        missing = [name for name in _LIBRARIES if find_spec(name) is None]
    except ModuleNotFoundError:
        missing = list(_LIBRARIES)
    if missing:
        raise unsupported(f"--trace-config=mode=opentelemetry needs opentelemetry-sdk: {install_hint('otel')}")


class _Report(msgspec.Struct):
    """What the process says about traces, or about spans."""

    sent: int
    lost: int
    reason: str


@dataclass(slots=True)
class TraceOutage:
    """Whether traces arrive at `place`; logs when that changes. A reason may repeat a `secret`, which is not logged."""

    place: str
    secret: str = ""
    lost: int = 0

    def note(self, sent: int, lost: int, reason: str) -> None:
        """Note what happened to traces or spans."""
        if lost:
            if not self.lost:
                if self.secret:
                    reason = reason.replace(self.secret, "")
                _LOG.error("traces are lost until '%s' accepts them: %s", self.place, reason)
            self.lost += lost
        elif sent and self.lost:
            _LOG.warning("'%s' accepts traces again; %d were lost", self.place, self.lost)
            self.lost = 0


class TraceProcess:
    """Passes traces to the exporting process. Implements `writer.TraceSink`; `counts` counts what arrives."""

    def __init__(self, options: TraceOptions, counts: Counts) -> None:
        if options.mode == OPENTELEMETRY:
            settings = ExportSettings(
                url=options.url,
                resource=options.resource,
                queue_size=options.queue_size,
                batch_size=options.batch_size,
                schedule_delay=options.schedule_delay,
            )
            user, at, _ = urlsplit(options.url).netloc.rpartition("@")
            self._outage = TraceOutage(without_password(options.url), user + at)
        else:
            settings = ExportSettings(file=options.file)
            self._outage = TraceOutage(options.file)
        message = msgspec.msgpack.encode(settings)
        self._settings = len(message).to_bytes(SIZE_BYTES, "little") + message
        self._counts = counts
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._started = 0.0

    def write(self, items: Sequence[bytes]) -> int:
        """Pass traces on; return how many the process took."""
        process = self._process or self._start()
        if process is None or process.stdin is None:
            return 0
        try:
            for message in pack_messages(items):
                process.stdin.write(message)
            process.stdin.flush()
        except OSError:
            self._end(process, 0.0)
            _LOG.error("the process that writes traces ended with code %s", process.returncode)
            return 0
        return len(items)

    def close(self) -> None:
        """End the process, which writes what it has first."""
        if self._process is not None:
            self._end(self._process, _CLOSE_S)

    def _start(self) -> subprocess.Popen[bytes] | None:
        if self._started and monotonic() < self._started + _RESTART_S:
            return None
        self._started = monotonic()
        command = [sys.executable, "-P", "-m", _MODULE]
        try:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        except OSError as error:
            _LOG.error("the process that writes traces cannot be started: %s", error.strerror)
            return None
        _enlarge(process.stdin)
        self._process = process
        self._reader = threading.Thread(target=self._read, args=(process.stdout,), name="trace-reports", daemon=True)
        self._reader.start()
        if process.stdin is not None:
            process.stdin.write(self._settings)  # buffered, until the first traces follow
        return process

    def _read(self, reports: IO[bytes]) -> None:
        with reports:
            for line in reports:
                report = msgspec.json.decode(line, type=_Report)
                self._counts.written(report.sent)
                self._counts.lost(report.lost)
                self._outage.note(report.sent, report.lost, report.reason)

    def _end(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        self._process = None
        if process.stdin is not None:
            with suppress(OSError):  # it has gone, with what was buffered
                process.stdin.close()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._reader is not None:
            self._reader.join()


def _enlarge(pipe: IO[bytes] | None) -> None:
    """Let a pipe hold more where the system can (Linux), so that the writing thread does not wake for each 64 KiB."""
    size = getattr(fcntl, "F_SETPIPE_SZ", None)
    if pipe is not None and size is not None:
        with suppress(OSError):  # more than an unprivileged process may have
            fcntl.fcntl(pipe.fileno(), size, _PIPE_BYTES)
