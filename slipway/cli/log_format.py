"""Triton's log lines, and the set-up of logging.

default:  `I0520 20:03:25.829575 3355 engine.py:123] "message"` (severity, month, day, UTC time, process, source)
ISO8601:  `2024-05-20T20:03:25Z 3355 I engine.py:123] "message"`
Messages are JSON strings, so a request cannot forge a line; a record made with `extra=TABLE` is printed verbatim.
Source: Triton docs/protocol/extension_logging.md, logging.cc.
"""

from __future__ import annotations

import json
import logging
import os
import time
from typing import Final

from slipway.cli.log_output import STANDARD_ERROR, LogHandler, UnbufferedText
from slipway.errors import invalid

TABLE: Final = {"table": True}  # the other side is server.py, which may not import this file
_SEVERITY: Final = {
    logging.DEBUG: "I",
    logging.INFO: "I",
    logging.WARNING: "W",
    logging.ERROR: "E",
    logging.CRITICAL: "E",
}


class TritonFormatter(logging.Formatter):
    """Format records as `default` or `ISO8601` lines; `escape` false leaves messages unquoted."""

    def __init__(self, style: str = "default", *, escape: bool = True) -> None:
        super().__init__()
        self._iso = style.upper() == "ISO8601"
        self._escape = escape

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of `record`, a traceback included in its message."""
        message = record.getMessage()
        if getattr(record, "table", False):
            return f"{self._prefix(record)}\n{message}\n"
        if record.exc_info:
            message += "\n" + self.formatException(record.exc_info)
        return self._prefix(record) + (json.dumps(message, ensure_ascii=False) if self._escape else message)

    def _prefix(self, record: logging.LogRecord) -> str:
        severity = _SEVERITY.get(record.levelno, "I")
        moment = time.gmtime(record.created)
        source = f"{record.filename}:{record.lineno}] "
        if self._iso:
            return f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', moment)} {record.process} {severity} {source}"
        microseconds = int(record.created % 1 * 1_000_000)
        return f"{severity}{time.strftime('%m%d %H:%M:%S', moment)}.{microseconds:06d} {record.process} {source}"


class SeverityFilter(logging.Filter):
    """Pass the severities that --log-info, --log-warning, --log-error and --log-verbose enable."""

    def __init__(self, *, verbose: int, info: bool, warning: bool, error: bool) -> None:
        super().__init__()
        self._enabled = {
            logging.DEBUG: verbose > 0,
            logging.INFO: info,
            logging.WARNING: warning,
            logging.ERROR: error,
            logging.CRITICAL: error,
        }

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record's severity is enabled."""
        return self._enabled.get(record.levelno, True)


def install_logging(severities: SeverityFilter, *, style: str, file: str) -> None:
    """Send every log record of the process, in Triton's form, to `file` ("" is standard error).

    Raise INVALID_ARG when the file cannot be written.
    """
    try:
        mode = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        handler = LogHandler(UnbufferedText(os.open(file, mode, 0o666) if file else STANDARD_ERROR))
    except OSError as error:
        raise invalid(f"--log-file: cannot write '{file}': {error.strerror}") from None
    escape = os.environ.get("TRITON_SERVER_ESCAPE_LOG_MESSAGES") != "0"  # any other value leaves it on, as in Triton
    handler.setFormatter(TritonFormatter(style, escape=escape))
    handler.addFilter(severities)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)  # other libraries: warnings only
    logging.getLogger("slipway").setLevel(logging.DEBUG)
