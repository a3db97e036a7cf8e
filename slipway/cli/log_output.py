"""Where log lines go: a file or standard error, unbuffered, and what happens when it cannot be written.

A full disk must not cost more than the lines that do not fit: that is reported once, to standard error, and the first
line that can be written again is preceded by the number of lost ones.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import Final

STANDARD_ERROR: Final = 2


class UnbufferedText:
    """Writes text to a file descriptor at once: a buffer would keep what does not fit, and fail again at exit."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._is_torn = False  # the last line was written only in part

    def write(self, text: str) -> None:
        """Write all of `text`; raise `OSError` if that fails."""
        data = text.encode("utf-8", "backslashreplace")
        if self._is_torn:
            data = b"\n" + data
        size = len(data)
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except OSError:
                self._is_torn |= len(data) < size
                raise
        self._is_torn = False


class LogHandler(logging.StreamHandler[UnbufferedText]):
    """Writes records to `stream`; reports the first of a row of failures to standard error."""

    def __init__(self, stream: UnbufferedText) -> None:
        super().__init__(stream)
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, after the number of lines lost since the last one that was written."""
        if self._lost:
            try:
                self.stream.write(f"{self._lost} log lines could not be written\n")
            except OSError:
                self._lost += 1
                return
            self._lost = 0
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's name
        """Count a line that could not be written; report the first one."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self._lost += 1
        if self._lost == 1:
            message = f"warning: the log cannot be written: {error.strerror}; lines are lost until it can\n"
            with suppress(OSError):  # it may be the log
                os.write(STANDARD_ERROR, message.encode())
