"""Calls over HTTP/1.1 for threads, on the standard library: a connection for each call under way, kept for the next."""

from __future__ import annotations

import time
from collections.abc import Generator
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from math import isinf
from threading import Lock
from typing import Final

from slipway.client.endpoint import Endpoint
from slipway.client.events import event_data
from slipway.client.messages import Incoming, Outgoing
from slipway.client.transport import CLOSED, failed, late
from slipway.errors import unavailable

_PIECE: Final = 1 << 20  # bytes read at a time; between two, the deadline is looked at
_JOINED: Final = 64 << 10  # a smaller body is sent with its head
_MAX_IDLE: Final = 64


class HttpTransport:
    """Implements `Transport`; any number of threads may use it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._idle: list[HTTPConnection] = []
        self._lock = Lock()
        self._is_closed = False

    def send(self, outgoing: Outgoing, timeout: float) -> Incoming:
        """Return the whole response."""
        deadline = time.monotonic() + timeout
        connection = self._take()
        if connection is not None:
            try:
                return self._exchange(connection, outgoing, deadline)
            except ConnectionError:  # the server had closed the idle connection
                connection.close()
            except TimeoutError:
                raise late(self._endpoint, timeout) from None
            except (OSError, HTTPException) as error:
                raise failed(self._endpoint, error) from None
        try:
            return self._exchange(self._connection(), outgoing, deadline)
        except TimeoutError:
            raise late(self._endpoint, timeout) from None
        except (OSError, HTTPException) as error:
            raise failed(self._endpoint, error) from None

    def stream(self, outgoing: Outgoing, timeout: float) -> Generator[Incoming, None, None]:
        """Yield the data of each server-sent event, or a response that is not a stream, on a connection of its own."""
        deadline = time.monotonic() + timeout
        connection = self._connection()
        try:
            response = self._begin(connection, outgoing, deadline)
            if response.status != 200:
                yield self._whole(connection, response, deadline)
                return
            while line := self._line(connection, response, deadline):
                data = event_data(line)
                if data is not None:
                    yield Incoming(data)
        except TimeoutError:
            raise late(self._endpoint, timeout) from None
        except (OSError, HTTPException) as error:
            raise failed(self._endpoint, error) from None
        finally:
            connection.close()

    def close(self) -> None:
        """Close the idle connections; those of calls under way are closed when these end."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self) -> HTTPConnection | None:
        with self._lock:
            if self._is_closed:
                raise unavailable(CLOSED)
            return self._idle.pop() if self._idle else None

    def _keep(self, connection: HTTPConnection) -> None:
        with self._lock:
            if not self._is_closed and len(self._idle) < _MAX_IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def _connection(self) -> HTTPConnection:
        if self._is_closed:
            raise unavailable(CLOSED)
        endpoint = self._endpoint
        if endpoint.tls is None:
            return HTTPConnection(endpoint.host, endpoint.port)
        return HTTPSConnection(endpoint.host, endpoint.port, context=endpoint.tls)

    def _exchange(self, connection: HTTPConnection, outgoing: Outgoing, deadline: float) -> Incoming:
        try:
            response = self._begin(connection, outgoing, deadline)
            incoming = self._whole(connection, response, deadline)
        except BaseException:
            connection.close()
            raise
        if response.will_close:
            connection.close()
        else:
            self._keep(connection)
        return incoming

    def _begin(self, connection: HTTPConnection, outgoing: Outgoing, deadline: float) -> HTTPResponse:
        _limit(connection, deadline)
        headers = dict((*self._endpoint.headers, *outgoing.headers))
        size = outgoing.size
        headers["Content-Length"] = str(size)
        body = outgoing.body if size < _JOINED else outgoing.parts
        connection.request(outgoing.method, self._endpoint.prefix + outgoing.target, body, headers)
        _limit(connection, deadline)
        return connection.getresponse()

    def _whole(self, connection: HTTPConnection, response: HTTPResponse, deadline: float) -> Incoming:
        pieces = []
        while piece := response.read(_PIECE):
            pieces.append(piece)
            _limit(connection, deadline)
        headers = {name.lower().encode(): value.encode() for name, value in response.getheaders()}
        return Incoming(b"".join(pieces), response.status, headers)

    def _line(self, connection: HTTPConnection, response: HTTPResponse, deadline: float) -> bytes:
        _limit(connection, deadline)
        return response.readline()


def _limit(connection: HTTPConnection, deadline: float) -> None:
    """Let the next operation end at the deadline; raise TimeoutError if it is over."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    seconds = None if isinf(left) else left
    connection.timeout = seconds
    if connection.sock is not None:
        connection.sock.settimeout(seconds)
