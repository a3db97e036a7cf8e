"""A listener on a real socket, with its event loop in a separate thread, so that tests can use blocking clients."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from slipway.certificates import Certificates
from slipway.core.budget import Budget
from slipway.rest.app import build_app
from slipway.rest.connection import Handler, HttpLimits
from slipway.rest.context import RestOptions
from slipway.rest.listener import HttpListener
from tests.kits.memory_dataplane import MemoryDataplane
from tests.rest.models import dataplane


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Served:
    """A running front: its port and its dataplane."""

    port: int
    plane: MemoryDataplane

    @property
    def url(self) -> str:
        """Return the URL in tritonclient's form."""
        return f"127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Send a request on a new connection; underscores in header names become dashes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body=body, headers=named)
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers), response.read())
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        """Return a new connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def send(self, *pieces: bytes) -> bytes:
        """Send pieces on a new connection; return everything received until the server closes."""
        with self.connect() as connection:
            for piece in pieces:
                connection.sendall(piece)
            return read_to_end(connection)


def read_to_end(connection: socket.socket) -> bytes:
    """Return everything received until the server closes."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


@contextmanager
def serve(
    plane: MemoryDataplane,
    handler: Handler,
    limits: HttpLimits | None = None,
    *,
    budget: Budget | None = None,
    certificates: Certificates | None = None,
) -> Iterator[Served]:
    """Serve `handler` in a separate thread until the block ends."""
    started: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def run() -> None:
        listener = HttpListener(
            handler, host="127.0.0.1", port=0, limits=limits, budget=budget, certificates=certificates
        )
        done = asyncio.Event()
        started.set_result((await listener.start(), asyncio.get_running_loop(), done))
        await done.wait()
        await listener.stop(grace_s=5.0)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    port, loop, done = started.result(30)
    try:
        yield Served(port, plane)
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(30)


@pytest.fixture
def served() -> Iterator[Served]:
    """Serve the five tiny models with default limits."""
    plane = dataplane()
    with serve(plane, build_app(plane)) as running:
        yield running


@pytest.fixture
def small() -> Iterator[Served]:
    """Serve with small limits."""
    plane = dataplane()
    options = RestOptions(max_input_size=4096)
    limits = HttpLimits(body=4096, head=2048, headers=20, repeated_headers=3, chunks=10, linger_s=0.5)
    with serve(plane, build_app(plane, options), limits) as running:
        yield running
