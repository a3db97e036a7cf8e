"""What the server logs, and how: set by flags, changed at run time over the protocol. Pure.

The log's filter and formatter read it for each record. Source of names and texts: Triton's extension_logging.md,
http_server.cc, grpc_server.cc.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from slipway.errors import invalid, shown, unsupported
from slipway.nearest import nearest_or_all

FORMATS: Final = ("default", "ISO8601", "json")
REQUESTS: Final = 1  # the lowest verbose level that logs each request when it has ended
ARRIVALS: Final = 2  # ... and when it arrives
_INT32: Final = 2**31 - 1
_FILE: Final = "log file location can not be updated through network protocol"
_FIELDS: Final = {
    "log_info": "info",
    "log_warning": "warning",
    "log_error": "error",
    "log_verbose_level": "verbose",
    "log_format": "format",
}

Value = bool | int | str


@dataclass(slots=True)
class LogSettings:
    """`verbose` is 0 for none, `REQUESTS` and `ARRIVALS` for the requests too; `file` is "" for standard error."""

    file: str = ""
    info: bool = True
    warning: bool = True
    error: bool = True
    verbose: int = 0
    format: str = "default"

    def shown(self) -> dict[str, Value]:
        """Return the settings as the protocol shows them."""
        return {"log_file": self.file} | {name: getattr(self, field) for name, field in _FIELDS.items()}

    def update(self, given: Mapping[str, Value]) -> None:
        """Change settings, all or none; raise `SlipwayError` with Triton's texts. The types of the values are right."""
        if "log_file" in given:
            raise unsupported(_FILE)
        for name, value in given.items():
            if name not in _FIELDS:
                raise invalid(f"unknown log setting '{shown(name)}'{nearest_or_all(name, _FIELDS)}")
            if name == "log_format" and value not in FORMATS:
                raise invalid(f"invalid argument for log_format, got: {shown(value)}")
            if name == "log_verbose_level" and int(value) > _INT32:
                raise invalid(f"'{name}' is at most {_INT32}, got: {shown(value)}")
        for name, value in given.items():
            setattr(self, _FIELDS[name], value)
