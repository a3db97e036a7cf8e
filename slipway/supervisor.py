"""Reports to the supervisor that started the process, systemd with `Type=notify`: it is ready, or it ends.

A datagram to the socket that NOTIFY_SOCKET names; without the variable, nothing is reported.
Source: sd_notify(3)
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from typing import Final

SOCKET_VARIABLE: Final = "NOTIFY_SOCKET"
READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
_LOG: Final = logging.getLogger("slipway.server")


def report(state: str, environment: Mapping[str, str] = os.environ) -> None:
    """Report `state` to the supervisor, if there is one; a socket that does not take it is named in the log."""
    place = environment.get(SOCKET_VARIABLE)
    if not place:
        return
    address = "\0" + place[1:] if place.startswith("@") else place  # @ stands for the abstract namespace
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notification:
            notification.setblocking(False)  # the event loop calls this
            notification.sendto(state.encode(), address)
    except OSError as error:
        _LOG.warning("cannot report %s to %s=%s: %s", state, SOCKET_VARIABLE, place, error.strerror or error)
