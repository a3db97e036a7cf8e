"""Reads JSON that others wrote: files of checkpoints, headers, events of a server. Each fault is one error that names
where the text comes from. Knows no format beyond JSON.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any, Final

from slipway.errors import invalid, shown

_LARGEST: Final = 256 << 20  # bytes of a file; the largest tokenizers have 40 MB
_MOST_LEVELS: Final = 200


def parse_foreign(text: str | bytes | bytearray, source: str) -> Any:
    """Return the value of a JSON text, which may contain NaN; raise INVALID_ARG that begins with `source`."""
    try:
        value = json.loads(text if isinstance(text, str) else text.decode())
        too_deep = _is_deep(value)
    except ValueError as error:  # syntax, bytes that are not UTF-8, and numbers with too many digits
        raise invalid(f"{source}: {shown(error)}") from None
    except RecursionError:
        too_deep = True
    if too_deep:
        raise invalid(f"{source}: it is nested more than {_MOST_LEVELS} levels deep")
    return value


def read_foreign(path: Path) -> Any:
    """Return the value in a JSON file; raise INVALID_ARG if it cannot be read, is not a regular file, or too large."""
    return parse_foreign(read_foreign_file(path), str(path))


def read_foreign_file(path: Path) -> bytes:
    """Return what is in a file; raise INVALID_ARG if it cannot be read, is not a regular file, or too large."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a FIFO would wait for ever, a device might not end
            raise invalid(f"{path}: it is not a regular file")
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise invalid(f"{path}: {error.strerror or error}") from None
    if len(data) > _LARGEST:
        raise invalid(f"{path}: it has more than {_LARGEST >> 20} MiB")
    return data


def _is_deep(value: Any) -> bool:
    """Return whether a value is nested deeper than recursive code can follow."""
    level = [value]
    for _ in range(_MOST_LEVELS):
        level = [inner for each in level if isinstance(each, dict | list) for inner in _children(each)]
        if not level:
            return False
    return True


def _children(value: dict[str, Any] | list[Any]) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value
    return [each for each in inner if isinstance(each, dict | list)]
