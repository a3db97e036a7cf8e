"""A listening HTTP socket: binds, tracks the connections, drains them on stop. Installs no signal handlers."""

from __future__ import annotations

import asyncio
from typing import Final

from slipway.errors import unavailable
from slipway.rest.connection import Handler, HttpConnection, HttpLimits

_SWEEP_S: Final = 5.0
_BACKLOG: Final = 2048
_POLL_S: Final = 0.02


class HttpListener:
    """Serves `handler` on `host`:`port` (0: any free port) in the running event loop."""

    def __init__(
        self, handler: Handler, *, host: str, port: int, limits: HttpLimits | None = None, reuse_port: bool = False
    ) -> None:
        self._handler = handler
        self._host = host
        self._port = port
        self._limits = limits or HttpLimits()
        self._reuse_port = reuse_port
        self._connections: set[HttpConnection] = set()
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    async def start(self) -> int:
        """Bind and accept connections; return the port. Raise `SlipwayError` (UNAVAILABLE) if binding fails."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                self._connection,
                self._host,
                self._port,
                backlog=_BACKLOG,
                reuse_port=self._reuse_port or None,
            )
        except OSError as error:
            raise unavailable(f"failed to listen on {self._host}:{self._port}: {error.strerror or error}") from error
        self._sweeper = loop.call_later(_SWEEP_S, self._sweep)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self, grace_s: float = 0.0) -> None:
        """Stop accepting, give open requests up to `grace_s` seconds to finish, then close all connections."""
        if self._server is None:
            return
        self._server.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace_s
        for connection in list(self._connections):
            connection.stop()
        while self._connections and loop.time() < deadline:  # noqa: ASYNC110  runs once per process
            await asyncio.sleep(_POLL_S)
        for connection in list(self._connections):
            connection.abort()
        self._server = None

    def _connection(self) -> HttpConnection:
        return HttpConnection(self._handler, self._limits, self._connections)

    def _sweep(self) -> None:
        for connection in list(self._connections):
            connection.sweep(_SWEEP_S)
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)
