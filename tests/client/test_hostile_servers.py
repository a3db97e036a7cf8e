"""Clients of HTTP against servers that send too slowly, too much, or nothing: every call ends, and is sent as often as
it may be."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import pytest

import slipway
from slipway.errors import Code, SlipwayError

_ANSWER = b'{"model_name":"m","outputs":[]}'
_WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(_ANSWER), _ANSWER)
_INPUTS = {"x": np.zeros(1, np.float32)}
Script = Callable[[socket.socket, int], bool]


class Scripted:
    """A server that counts requests; `script` answers one, given its number, and returns whether others may follow on
    the connection."""

    def __init__(self, script: Script) -> None:
        self.requests = 0
        self._script = script
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while self._read(connection):
                self.requests += 1
                if not self._script(connection, self.requests):
                    return

    def _read(self, connection: socket.socket) -> bool:
        text = b""
        while b"\r\n\r\n" not in text:
            if not (data := connection.recv(65536)):
                return False
            text += data
        head, _, body = text.partition(b"\r\n\r\n")
        (size,) = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        while len(body) < size:
            body += connection.recv(65536)
        return True


@contextmanager
def scripted(script: Script) -> Iterator[Scripted]:
    server = Scripted(script)
    threading.Thread(target=server.run, daemon=True).start()
    try:
        yield server
    finally:
        server.listener.shutdown(socket.SHUT_RDWR)
        server.listener.close()


def ask(url: str, is_async: bool, requests: int = 1, *, timeout: float = 30.0, **options: object) -> None:
    """Send requests one after another on one connection, of which the last has the options."""
    every = [{} for _ in range(requests - 1)] + [options]
    if not is_async:
        with slipway.Client(url, timeout=timeout, retries=0) as client:
            for each in every:
                client.infer("m", _INPUTS, **each)
        return

    async def live() -> None:
        async with slipway.AsyncClient(url, timeout=timeout, retries=0) as client:
            for each in every:
                await client.infer("m", _INPUTS, **each)

    asyncio.run(live())


both = pytest.mark.parametrize("is_async", [False, True])


@both
@pytest.mark.parametrize(
    "beginning", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n"]
)
def test_an_answer_that_comes_byte_by_byte_does_not_outlast_the_timeout(beginning, is_async):
    def drip(connection: socket.socket, _: int) -> bool:
        connection.sendall(beginning)
        while True:
            connection.sendall(b"a")
            threading.Event().wait(0.05)

    with scripted(drip) as server, pytest.raises(SlipwayError, match="does not answer within") as caught:
        ask(server.url, is_async, timeout=2.0)
    assert caught.value.code is Code.UNAVAILABLE


@both
def test_a_head_without_an_end_is_not_an_answer(is_async):
    def endless(connection: socket.socket, _: int) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(b"X: a\r\n" * 10_000)

    with scripted(endless) as server, pytest.raises(SlipwayError, match=r"the connection to .* failed") as caught:
        ask(server.url, is_async)
    assert caught.value.code is Code.UNAVAILABLE
    assert server.requests == 1


def second_is_lost(connection: socket.socket, number: int) -> bool:
    """Answer all requests but the second, after which the connection is closed."""
    if number != 2:
        connection.sendall(_WHOLE)
    return number != 2


@both
def test_a_request_that_was_lost_with_an_idle_connection_is_sent_again(is_async):
    with scripted(second_is_lost) as server:
        ask(server.url, is_async, requests=2)
    assert server.requests == 3


@both
def test_a_request_of_a_sequence_is_sent_once(is_async):
    with scripted(second_is_lost) as server, pytest.raises(SlipwayError) as caught:
        ask(server.url, is_async, requests=2, sequence_id=1)
    assert caught.value.code is Code.UNAVAILABLE
    assert server.requests == 2


@both
def test_a_request_of_a_sequence_takes_a_new_connection_if_the_server_closed_the_idle_one(is_async):
    closed = threading.Event()

    def closes(connection: socket.socket, _: int) -> bool:
        connection.sendall(_WHOLE)
        connection.shutdown(socket.SHUT_RDWR)
        closed.set()
        return False

    async def live(server: Scripted) -> None:
        async with slipway.AsyncClient(server.url, retries=0) as client:
            await client.infer("m", _INPUTS)
            assert await asyncio.to_thread(closed.wait, 60)
            await asyncio.sleep(0.1)  # for the event loop to see it
            await client.infer("m", _INPUTS, sequence_id=1)

    with scripted(closes) as server:
        if is_async:
            asyncio.run(live(server))
        else:
            with slipway.Client(server.url, retries=0) as client:
                client.infer("m", _INPUTS)
                assert closed.wait(60)
                client.infer("m", _INPUTS, sequence_id=1)
    assert server.requests == 2


@both
def test_an_interim_response_is_not_the_answer(is_async):
    def continues(connection: socket.socket, _: int) -> bool:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" + _WHOLE)
        return True

    with scripted(continues) as server:
        ask(server.url, is_async, requests=2)
    assert server.requests == 2


_METADATA = b'{"name":"m","inputs":[{"name":"x","datatype":"FP32","shape":[1]}]}'


@both
@pytest.mark.parametrize(("options", "requests"), [({}, 3), ({"sequence_id": 1}, 2)])
def test_a_stream_is_asked_for_again_unless_it_is_of_a_sequence(is_async, options, requests):
    def breaks(connection: socket.socket, number: int) -> bool:
        if number == 1:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(_METADATA), _METADATA))
        return number == 1

    async def live(server: Scripted) -> None:
        async with slipway.AsyncClient(server.url, retries=1) as client:
            async for _ in client.stream("m", _INPUTS, **options):
                pass

    def use(server: Scripted) -> None:
        if is_async:
            asyncio.run(live(server))
            return
        with slipway.Client(server.url, retries=1) as client:
            list(client.stream("m", _INPUTS, **options))

    with scripted(breaks) as server, pytest.raises(SlipwayError) as caught:
        use(server)
    assert caught.value.code is Code.UNAVAILABLE
    assert server.requests == requests
