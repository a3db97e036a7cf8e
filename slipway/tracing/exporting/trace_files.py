"""Triton's trace files: which trace goes to which file.

All traces go to the one file, except those of a setting with a log frequency or a count: they go to numbered files,
`FILE.0`, `FILE.1`, ..., as many traces in each as the frequency says (extension_trace.md). A setting whose count is not
reached leaves its traces in `FILE`, if nothing else is there. Triton keeps traces in memory until a file is complete;
here they are written at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Final, NamedTuple

from slipway.tracing.exporting.json_array import JsonArrayFile
from slipway.tracing.exporting.triton_json import write_trace
from slipway.tracing.record import TraceRecord

_SEPARATOR: Final = ",\n"
_AT_ONCE: Final = 64  # traces: their 50 KB of text stay in the processor's cache on the way to the file
MOST_OPEN: Final = 64  # numbered files: clients can change settings, and each change makes another setting


class Written(NamedTuple):
    """How many traces are written and how many are lost, and why."""

    sent: int
    lost: int = 0
    reason: str = ""


class _Numbered:
    """The numbered file of a setting that is being written; it waits for a count if `is_counted`."""

    def __init__(self, file: JsonArrayFile, *, is_counted: bool) -> None:
        self.file = file
        self.is_counted = is_counted
        self.count = 0


class TraceFiles:
    """Writes traces to `path` and its numbered files."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: JsonArrayFile | None = None
        self._numbered: dict[int, _Numbered] = {}  # by setting, the most recently used last
        self._next = 0

    def write(self, traces: Sequence[TraceRecord]) -> Written:
        """Write traces, as many as can be written."""
        count, reason = 0, ""
        for _, group in groupby(traces, attrgetter("frequency", "is_counted")):
            parts = list(group)
            try:
                if parts[0].is_numbered:
                    for part in parts:
                        self._write_numbered(part)
                        count += 1
                else:
                    for start in range(0, len(parts), _AT_ONCE):
                        some = parts[start : start + _AT_ONCE]
                        self._write_plain(some)
                        count += len(some)
            except OSError as error:
                reason = error.strerror or type(error).__name__
        return Written(count, len(traces) - count, reason)

    def _write_plain(self, traces: Sequence[TraceRecord]) -> None:
        elements = _SEPARATOR.join(filter(None, map(write_trace, traces)))
        if not elements:
            return
        if self._file is None:
            self._file = JsonArrayFile(self._path)
        self._file.append(elements)

    def _write_numbered(self, trace: TraceRecord) -> None:
        elements = write_trace(trace)
        numbered = self._numbered.pop(trace.setting, None)
        if numbered is None:
            if len(self._numbered) >= MOST_OPEN:
                self._numbered.pop(next(iter(self._numbered))).file.close()  # it is complete after every trace
            numbered = _Numbered(JsonArrayFile(f"{self._path}.{self._next}"), is_counted=not trace.frequency)
            self._next += 1
        self._numbered[trace.setting] = numbered
        if elements:
            numbered.file.append(elements)
        numbered.count += 1
        if trace.is_last or (trace.frequency and numbered.count >= trace.frequency):
            del self._numbered[trace.setting]
            numbered.file.close()

    def close(self) -> None:
        """Close all files."""
        for numbered in self._numbered.values():
            numbered.file.close()
            if numbered.is_counted and self._file is None and len(self._numbered) == 1:
                with suppress(OSError):
                    Path(numbered.file.path).replace(self._path)
        self._numbered.clear()
        if self._file is not None:
            self._file.close()
            self._file = None
