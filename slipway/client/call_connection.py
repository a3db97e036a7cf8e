"""The standard library's HTTP connections with a deadline for all that is read, however slowly it comes.

A socket's own timeout is for one read: a server that sends a byte now and then would keep its client for ever.
"""

from __future__ import annotations

import io
import select
import socket
import time
from functools import partial
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from math import inf, isinf
from typing import Any

from slipway.client.endpoint import Endpoint


class CallDeadline:
    """When the call that a connection carries has to be over, on the clock of `time.monotonic`."""

    def __init__(self) -> None:
        self.at = inf

    def left(self) -> float | None:
        """Return the seconds that are left, None for no limit; raise TimeoutError if there are none."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return None if isinf(left) else left


class CallConnection:
    """An `HTTPConnection` that is opened when it is first used."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._deadline = CallDeadline()
        self._connection = (
            HTTPConnection(endpoint.host, endpoint.port)
            if endpoint.tls is None
            else HTTPSConnection(endpoint.host, endpoint.port, context=endpoint.tls)
        )
        self._connection.response_class = partial(_TimedResponse, self._deadline)  # type: ignore[assignment]

    def begin(self, method: str, path: str, body: Any, headers: dict[str, str], deadline: float) -> HTTPResponse:
        """Send a request and return the response, of which the head was read; raise TimeoutError at the deadline, now
        and in every read."""
        self._deadline.at = deadline
        connection = self._connection
        connection.timeout = self._deadline.left()
        if connection.sock is not None:
            connection.sock.settimeout(connection.timeout)
        connection.request(method, path, body, headers)
        return connection.getresponse()

    def is_closed_by_server(self) -> bool:
        """Return whether the server has closed the idle connection, as far as this machine knows."""
        sock: socket.socket | None = self._connection.sock
        if sock is None:
            return True
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Close it."""
        self._connection.close()


class _TimedResponse(HTTPResponse):
    """A response that reads from a `_TimedReader`."""

    def __init__(self, deadline: CallDeadline, sock: socket.socket, *arguments: Any, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        self.fp.close()
        self.fp = io.BufferedReader(_TimedReader(sock, deadline))


class _TimedReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, deadline: CallDeadline) -> None:
        self._socket = sock
        self._deadline = deadline
        self._file = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._socket.settimeout(self._deadline.left())
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()
