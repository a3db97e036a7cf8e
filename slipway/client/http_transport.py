"""Calls over HTTP/1.1 for threads, on the standard library: a connection for each call under way, kept for the next."""

from __future__ import annotations

import time
from collections.abc import Generator
from http.client import HTTPException, HTTPResponse
from threading import Lock
from typing import Final

from slipway.client.call_connection import CallConnection
from slipway.client.endpoint import Endpoint
from slipway.client.events import LONGEST_LINE, event_data
from slipway.client.http_exchange import LARGEST_BODY
from slipway.client.messages import Incoming, Outgoing
from slipway.client.transport import CLOSED, failed, late
from slipway.errors import unavailable

_PIECE: Final = 1 << 20  # bytes read at a time
_JOINED: Final = 64 << 10  # a smaller body is sent with its head
_MAX_IDLE: Final = 64


class HttpTransport:
    """Implements `Transport`; any number of threads may use it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._idle: list[CallConnection] = []
        self._lock = Lock()
        self._is_closed = False

    def send(self, outgoing: Outgoing, timeout: float) -> Incoming:
        """Return the whole response."""
        deadline = time.monotonic() + timeout
        connection = self._take(once=outgoing.once)
        if connection is not None:
            try:
                return self._exchange(connection, outgoing, deadline)
            except ConnectionError as error:  # the server had closed the idle connection
                if outgoing.once:
                    raise failed(self._endpoint, error) from None
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
                yield _whole(response)
                return
            while line := _line(response):
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

    def _take(self, *, once: bool) -> CallConnection | None:
        """Return an idle connection, or None. With `once`, connections that the server has closed are passed over."""
        while True:
            with self._lock:
                if self._is_closed:
                    raise unavailable(CLOSED)
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if not once or not connection.is_closed_by_server():
                return connection
            connection.close()

    def _keep(self, connection: CallConnection) -> None:
        with self._lock:
            if not self._is_closed and len(self._idle) < _MAX_IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def _connection(self) -> CallConnection:
        if self._is_closed:
            raise unavailable(CLOSED)
        return CallConnection(self._endpoint)

    def _exchange(self, connection: CallConnection, outgoing: Outgoing, deadline: float) -> Incoming:
        try:
            response = self._begin(connection, outgoing, deadline)
            incoming = _whole(response)
        except BaseException:
            connection.close()
            raise
        if response.will_close:
            connection.close()
        else:
            self._keep(connection)
        return incoming

    def _begin(self, connection: CallConnection, outgoing: Outgoing, deadline: float) -> HTTPResponse:
        headers = dict((*self._endpoint.headers, *outgoing.headers))
        size = outgoing.size
        headers["Content-Length"] = str(size)
        body = outgoing.body if size < _JOINED else outgoing.parts
        path = self._endpoint.prefix + outgoing.target
        return connection.begin(outgoing.method, path, body, headers, deadline)


def _line(response: HTTPResponse) -> bytes:
    """Return the next line of a stream; raise HTTPException for one that is too long."""
    line = response.readline(LONGEST_LINE + 1)
    if len(line) > LONGEST_LINE:
        raise HTTPException(f"an event has more than {LONGEST_LINE} bytes")
    return line


def _whole(response: HTTPResponse) -> Incoming:
    """Return a response with its whole body; raise HTTPException for one that is too large."""
    pieces = []
    size = 0
    while piece := response.read(_PIECE):
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST_BODY:
            raise HTTPException(f"the answer has more than {LARGEST_BODY} bytes")
    headers = {name.lower().encode(): value.encode() for name, value in response.getheaders()}
    return Incoming(b"".join(pieces), response.status, headers)
