"""Log lines, Triton's and as JSON, and the set-up of logging.

default:  `I0520 20:03:25.829575 3355 engine.py:123] "message"` (severity, month, day, UTC time, process, source)
ISO8601:  `2024-05-20T20:03:25Z I 3355 engine.py:123] "message"`
Messages are JSON strings, so a request cannot forge a line; a record made with `extra=TABLE` is printed verbatim. The
third form, json, is not Triton's: one object per line, tables included.
Source: Triton docs/protocol/extension_logging.md, logging.cc.
"""

from __future__ import annotations

import json
import logging
import os
import time
from typing import Final

from slipway.cli.log_output import STANDARD_ERROR, LogHandler, UnbufferedText
from slipway.core.log_settings import LogSettings
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
            return f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', moment)} {severity} {record.process} {source}"
        microseconds = int(record.created % 1 * 1_000_000)
        return f"{severity}{time.strftime('%m%d %H:%M:%S', moment)}.{microseconds:06d} {record.process} {source}"


class JsonFormatter(logging.Formatter):
    """Format records as one JSON object per line; the fields of a request's line are members of their own."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of `record`, a traceback included."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{moment}.{int(record.created % 1 * 1_000_000):06d}Z",
            "severity": record.levelname,
            "process": record.process,
            "source": f"{record.filename}:{record.lineno}",
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        fields = getattr(record, "fields", None)
        if fields is not None:
            line["fields"] = fields
        return json.dumps(line, ensure_ascii=False, default=str)


class LogFormatter(logging.Formatter):
    """Format records in the form that the settings have at the time; `escape` false leaves Triton's messages
    unquoted."""

    def __init__(self, settings: LogSettings, *, escape: bool = True) -> None:
        super().__init__()
        self._settings = settings
        self._forms = {
            "default": TritonFormatter(escape=escape),
            "ISO8601": TritonFormatter("ISO8601", escape=escape),
            "json": JsonFormatter(),
        }

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of `record`."""
        return self._forms[self._settings.format].format(record)


class SeverityFilter(logging.Filter):
    """Pass the severities that the settings enable at the time."""

    def __init__(self, settings: LogSettings) -> None:
        super().__init__()
        self._settings = settings

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record's severity is enabled."""
        settings = self._settings
        if record.levelno >= logging.ERROR:
            return settings.error
        if record.levelno >= logging.WARNING:
            return settings.warning
        return settings.info if record.levelno >= logging.INFO else settings.verbose > 0


def install_logging(settings: LogSettings) -> None:
    """Send every log record of the process to the file that the settings name ("" is standard error), as they say at
    the time.

    Raise INVALID_ARG when the file cannot be written.
    """
    file = settings.file
    try:
        mode = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        handler = LogHandler(UnbufferedText(os.open(file, mode, 0o666) if file else STANDARD_ERROR))
    except OSError as error:
        raise invalid(f"--log-file: cannot write '{file}': {error.strerror}") from None
    escape = os.environ.get("TRITON_SERVER_ESCAPE_LOG_MESSAGES") != "0"  # any other value leaves it on, as in Triton
    handler.setFormatter(LogFormatter(settings, escape=escape))
    handler.addFilter(SeverityFilter(settings))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)  # other libraries: warnings only
    logging.getLogger("slipway").setLevel(logging.DEBUG)
