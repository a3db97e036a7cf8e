"""The process of the proxy beside a server ends with the server, whenever that is."""

from __future__ import annotations

import asyncio
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from slipway.proxy.process import ProxyProcess

_PREPARED = """
import sys
from slipway.proxy import child, running
running.build_app = lambda options: print("prepared", flush=True) or sys.stdin.buffer.read()
sys.exit(child.main())
"""
_SERVING = """
import os, socket, sys
from slipway.proxy.child import main
print(socket.socket(fileno=os.dup(int(sys.argv[1]))).getsockname()[1], flush=True)
sys.exit(main())
"""


@contextmanager
def starting_child(script: str) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a child that was just started, before uvicorn runs in it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        command = [sys.executable, "-c", script, str(number), "--server=127.0.0.1:1"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=(number,)
        ) as process:
            try:
                yield process
            finally:
                process.kill()


def test_a_child_whose_server_ends_while_it_starts_ends_too():
    script = "import sys; from slipway.proxy.child import main; sys.exit(main())"
    with starting_child(script) as child:
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(60) == 0


def test_a_child_that_is_told_to_end_before_it_serves_ends_at_once():
    with starting_child(_PREPARED) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"prepared\n"
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 0


HEAD = b"POST /models/m HTTP/1.1\r\nHost: localhost\r\n"


def test_a_head_or_trailers_without_an_end_close_the_connection():
    with starting_child(_SERVING) as child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        endless_header = sent_until_refused(port, HEAD + b"X: ", b"a" * 4096)
        assert endless_header.startswith(b"HTTP/1.1 400 ")
        assert sent_until_refused(port, b"GET /", b"a" * 4096).startswith(b"HTTP/1.1 400 ")
        assert sent_until_refused(port, HEAD, b"X: a\r\n" * 1000).startswith(b"HTTP/1.1 400 ")
        sent_until_refused(port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n", b"X: a\r\n" * 1000)


def test_a_large_body_is_not_taken_for_a_head():
    with starting_child(_SERVING) as child:
        assert child.stdout is not None
        with socket.create_connection(("127.0.0.1", int(child.stdout.readline())), timeout=60) as connection:
            connection.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n")
            connection.sendall(bytes(1_000_000))
            assert connection.recv(100).startswith(b"HTTP/1.1 503 ")  # there is no server behind the proxy


def sent_until_refused(port: int, beginning: bytes, piece: bytes) -> bytes:
    """Send pieces until the proxy closes the connection; return its response, if the system still has it."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(beginning)
        with suppress(ConnectionError):
            for _ in range(100_000):
                connection.sendall(piece)
                if select.select([connection], [], [], 0.001)[0]:
                    return connection.recv(1000)
            pytest.fail("the proxy reads for ever")
    return b""


def test_modules_in_the_working_directory_are_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "uvicorn.py").write_text("open('imported', 'w')")
    monkeypatch.chdir(tmp_path)
    asyncio.run(answered_once())
    assert not (tmp_path / "imported").exists()


async def answered_once() -> None:
    process = ProxyProcess("127.0.0.1", 0, ["--server=127.0.0.1:1"])
    port = await process.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(60):
            assert (await reader.readline()).startswith(b"HTTP/1.1 503 ")
        writer.close()
    finally:
        await process.stop(10)
