"""The names by which clients reach the server, as a flag lists them. Pure."""

from __future__ import annotations

import re
from typing import Final

from slipway.config.flags import Kind

_HOST: Final = re.compile(r"\*|\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*")


def _read_hosts(text: str) -> tuple[str, ...]:
    hosts = tuple(host.strip().lower() for host in text.split(","))
    for host in hosts:
        if _HOST.fullmatch(host) is None:
            raise ValueError(f"expected names of hosts without scheme, port and path, separated by commas. Got {text}")
    return hosts


HOSTS: Final = Kind("HOST[,HOST...]", _read_hosts)
