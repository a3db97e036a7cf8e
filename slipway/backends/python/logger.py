"""`pb_utils.Logger`: writes a model's lines into the server's log, with the model's own file and line number."""

from __future__ import annotations

import logging
from enum import IntEnum
from typing import Any, ClassVar, Final

from slipway.backends.python.signatures import Signature, StubParameter, an, decoded, text

_LOG: Final = logging.getLogger("slipway.model")
_CALLER: Final = 3  # frames up from `_log`: itself, the method, the model


class LogLevel(IntEnum):
    """The level of a log line."""

    INFO = 0
    WARNING = 1
    ERROR = 2
    VERBOSE = 3


_LEVELS: Final = {
    LogLevel.INFO: logging.INFO,
    LogLevel.WARNING: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
    LogLevel.VERBOSE: logging.DEBUG,
}


_MESSAGE: Final = {
    name: Signature(name, "(message: str) -> None", StubParameter("message", text))
    for name in ("log_info", "log_warn", "log_error", "log_verbose")
}
_ANY_LEVEL: Final = Signature(
    "log",
    "(message: str, level: c_python_backend_utils.Logger.LogLevel = <LogLevel.INFO: 0>) -> None",
    StubParameter("message", text),
    StubParameter("level", an(LogLevel), LogLevel.INFO),
)


def _log(level: int, message: str | bytes) -> None:
    _LOG.log(level, "%s", decoded(message), stacklevel=_CALLER)


class Logger:
    """The log of the server that runs the model; it has no instances."""

    LogLevel: ClassVar[type[LogLevel]] = LogLevel
    INFO: ClassVar = LogLevel.INFO
    WARNING: ClassVar = LogLevel.WARNING
    ERROR: ClassVar = LogLevel.ERROR
    VERBOSE: ClassVar = LogLevel.VERBOSE

    def __init__(self) -> None:
        raise TypeError("c_python_backend_utils.Logger: No constructor defined!")

    @staticmethod
    def log(*given: Any, **named: Any) -> None:
        """Log a line at a level, INFO by default."""
        message, level = _ANY_LEVEL.bind((), given, named)
        _log(_LEVELS[level], message)

    @staticmethod
    def log_info(*given: Any, **named: Any) -> None:
        """Log a line of information."""
        _log(logging.INFO, *_MESSAGE["log_info"].bind((), given, named))

    @staticmethod
    def log_warn(*given: Any, **named: Any) -> None:
        """Log a warning."""
        _log(logging.WARNING, *_MESSAGE["log_warn"].bind((), given, named))

    @staticmethod
    def log_error(*given: Any, **named: Any) -> None:
        """Log an error."""
        _log(logging.ERROR, *_MESSAGE["log_error"].bind((), given, named))

    @staticmethod
    def log_verbose(*given: Any, **named: Any) -> None:
        """Log a line that appears only with --log-verbose."""
        _log(logging.DEBUG, *_MESSAGE["log_verbose"].bind((), given, named))
