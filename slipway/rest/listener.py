"""A listening HTTP socket: binds, tracks the connections, drains them on stop. Installs no signal handlers."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Final

from slipway.certificates import Certificates, serving_context
from slipway.core.budget import Budget, default_budget
from slipway.errors import SlipwayError, unavailable
from slipway.rest.connection import Handler, HttpConnection, HttpLimits
from slipway.rest.traced import TimedConnection

_SWEEP_S: Final = 5.0
_BACKLOG: Final = 2048
_POLL_S: Final = 0.02
_HANDSHAKE_S: Final = 10.0


def check_port(host: str, port: int, *, shared: bool) -> None:
    """Raise UNAVAILABLE unless `host`:`port` is free; if `shared`, other servers that share it do not count."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        with socket.create_server((host, port), family=family, reuse_port=shared):
            pass
    except OSError as error:
        raise cannot_listen(host, port, error) from error


def cannot_listen(host: str, port: int, error: OSError) -> SlipwayError:
    """Return the error for an address that cannot be listened on, with the system's reason."""
    reason = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else str(error)
    return unavailable(f"failed to listen on {host}:{port}: {reason}")


class EncryptedConnection(HttpConnection):
    """A connection over TLS, which ends for both sides at once."""

    __slots__ = ()

    def eof_received(self) -> bool:
        """Let the transport close: the client has ended the connection."""
        return False

    def _write_eof(self) -> None:
        """Leave the end to the close that follows."""


class EncryptedTimedConnection(EncryptedConnection, TimedConnection):
    """A connection over TLS to a server that can trace requests."""

    __slots__ = ()


# Whether it notes times, whether it is encrypted.
_KINDS: Final[dict[tuple[bool, bool], type[HttpConnection]]] = {
    (False, False): HttpConnection,
    (False, True): EncryptedConnection,
    (True, False): TimedConnection,
    (True, True): EncryptedTimedConnection,
}


class HttpListener:
    """Serves `handler` on `host`:`port` (0: any free port) in the running event loop."""

    def __init__(  # noqa: PLR0913  the parts of one listener, passed by name
        self,
        handler: Handler,
        *,
        host: str,
        port: int,
        limits: HttpLimits | None = None,
        budget: Budget | None = None,
        reuse_port: bool = False,
        certificates: Certificates | None = None,
        timed: bool = False,
    ) -> None:
        self._handler = handler
        self._host = host
        self._port = port
        self._limits = limits or HttpLimits()
        self._budget = budget or Budget(default_budget())
        self._reuse_port = reuse_port
        self._certificates = certificates
        self._timed = timed
        self._connections: set[HttpConnection] = set()
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._lost = 0  # requests that `stop` cut off

    async def start(self) -> int:
        """Bind and accept connections; return the port. Raise `SlipwayError` (UNAVAILABLE) if binding fails, or if the
        certificates cannot be used."""
        loop = asyncio.get_running_loop()
        context = None if self._certificates is None else serving_context(self._certificates)
        try:
            self._server = await loop.create_server(
                self._connection,
                self._host,
                self._port,
                backlog=_BACKLOG,
                reuse_port=self._reuse_port or None,
                ssl=context,
                ssl_handshake_timeout=None if context is None else _HANDSHAKE_S,
            )
        except OSError as error:
            raise cannot_listen(self._host, self._port, error) from error
        self._sweeper = loop.call_later(_SWEEP_S, self._sweep)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def open_requests(self) -> int:
        """The number of requests that are not answered yet."""
        return self._lost + sum(connection.open_requests for connection in list(self._connections))

    async def stop(self, grace_s: float = 0.0) -> int:
        """Stop accepting, give open requests up to `grace_s` seconds to finish, then close all connections. Return the
        number of requests that were not answered.

        A client that keeps its connection busy may have sent its next request already: it is answered, and only
        connections that stay idle are closed without a word.
        """
        if self._server is None:
            return 0
        self._server.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace_s
        for connection in self._connections:
            connection.stop()
        while self._connections and loop.time() < deadline:
            await asyncio.sleep(_POLL_S)
            for connection in list(self._connections):
                connection.sweep(_POLL_S)
        self._lost = self.open_requests
        for connection in list(self._connections):
            connection.abort()
        self._server = None
        return self._lost

    def _connection(self) -> HttpConnection:
        return _KINDS[self._timed, self._certificates is not None](
            self._handler, self._limits, self._connections, self._budget
        )

    def _sweep(self) -> None:
        for connection in list(self._connections):
            connection.sweep(_SWEEP_S)
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)
