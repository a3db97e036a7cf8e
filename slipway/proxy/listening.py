"""The proxy's listening socket, which several processes may share."""

from __future__ import annotations

import os
import socket
from typing import Final

from slipway.errors import unavailable

_BACKLOG: Final = 2048


def listen(address: str, port: int) -> socket.socket:
    """Return a socket that listens, so that connections wait for the process that answers them; raise UNAVAILABLE if
    the address cannot be used."""
    try:
        family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listener = socket.create_server((address, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else str(error)
        raise unavailable(f"failed to start the proxy: cannot listen on {address}:{port}: {reason}") from error
    listener.set_inheritable(True)
    return listener
