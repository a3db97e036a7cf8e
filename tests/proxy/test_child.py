"""The process of the proxy beside a server ends with the server, whenever that is."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slipway.proxy.process import ProxyProcess

_PREPARED = """
import sys
from slipway.proxy import child, running
running.build_app = lambda options: print("prepared", flush=True) or sys.stdin.buffer.read()
sys.exit(child.main())
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
