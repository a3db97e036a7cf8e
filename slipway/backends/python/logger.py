"""`pb_utils.Logger`: writes a model's lines into the server's log, with the model's own file and line number."""

from __future__ import annotations

import logging
from enum import IntEnum
from typing import ClassVar, Final

_LOG: Final = logging.getLogger("slipway.model")
_CALLER: Final = 3  # frames up from `_log`: itself, the method, the model


class LogLevel(IntEnum):
    """The level of a log line."""

    INFO = 0
    WARNING = 1
    ERROR = 2
    VERBOSE = 3


Level = LogLevel  # inside `Logger` the name LogLevel is Triton's attribute

_LEVELS: Final = {
    LogLevel.INFO: logging.INFO,
    LogLevel.WARNING: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
    LogLevel.VERBOSE: logging.DEBUG,
}


def _log(level: int, message: str) -> None:
    if not isinstance(message, str):
        raise TypeError(f"Logger takes a message of type str, found {type(message)}")
    _LOG.log(level, "%s", message, stacklevel=_CALLER)


class Logger:
    """The log of the server that runs the model."""

    LogLevel: ClassVar[type[LogLevel]] = LogLevel
    INFO: ClassVar = LogLevel.INFO
    WARNING: ClassVar = LogLevel.WARNING
    ERROR: ClassVar = LogLevel.ERROR
    VERBOSE: ClassVar = LogLevel.VERBOSE

    @staticmethod
    def log(message: str, level: Level = LogLevel.INFO) -> None:
        """Log a line at `level`."""
        _log(_LEVELS[LogLevel(level)], message)

    @staticmethod
    def log_info(message: str) -> None:
        """Log a line of information."""
        _log(logging.INFO, message)

    @staticmethod
    def log_warn(message: str) -> None:
        """Log a warning."""
        _log(logging.WARNING, message)

    @staticmethod
    def log_error(message: str) -> None:
        """Log an error."""
        _log(logging.ERROR, message)

    @staticmethod
    def log_verbose(message: str) -> None:
        """Log a line that appears only with --log-verbose."""
        _log(logging.DEBUG, message)
