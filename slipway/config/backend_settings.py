"""tritonserver's `--backend-config`: read, and gathered per backend. Knows no backend.

The format and its errors are tritonserver's (`command_line_parser.cc`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from slipway.config.flags import Kind, whole

_DEFAULT_BATCH: Final = "default-max-batch-size"


def _read(text: str) -> tuple[str, str, str]:
    head, equals, value = text.partition("=")
    backend, comma, setting = head.rpartition(",")
    if not equals or not setting:
        raise ValueError(f"--backend-config option format is '<backend name>,<setting>=<value>'. Got {text}")
    if comma and not backend:
        raise ValueError(
            "No backend specified. --backend-config option format is <backend name>,<setting>=<value> or "
            f"<setting>=<value>. Got {text}"
        )
    if setting == _DEFAULT_BATCH:
        whole(0, 2**31 - 1).read(value)
    return backend, setting, value


BACKEND_SETTING: Final = Kind("[BACKEND,]SETTING=VALUE", _read)


def by_backend(settings: Iterable[tuple[str, str, str]]) -> dict[str, dict[str, str]]:
    """Gather the settings of each backend, those of all under ""; the last value of a setting counts."""
    gathered: dict[str, dict[str, str]] = {}
    for backend, setting, value in settings:
        gathered.setdefault(backend, {})[setting] = value
    return gathered
