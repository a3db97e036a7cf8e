"""A real Redis server on a port of its own."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time

import pytest

START_SECONDS = 20


class RedisServer:
    """A `redis-server` that keeps nothing on disk; it may be stopped, paused and started again on the same port."""

    def __init__(self, directory, *settings: str) -> None:
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("redis-server is not installed (Debian: apt-get install redis-server)")
        with socket.socket() as opened:
            opened.bind(("127.0.0.1", 0))
            self.port = opened.getsockname()[1]
        files = ("--dir", str(directory), "--save", "", "--appendonly", "no")
        self._command = [program, "--port", str(self.port), "--bind", "127.0.0.1", *files, *settings]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def flags(self) -> tuple[str, str]:
        """The flags that make a server use this one."""
        return "--cache-config=redis,host=127.0.0.1", f"--cache-config=redis,port={self.port}"

    def start(self) -> None:
        """Start, and wait until it accepts connections."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert self._process.poll() is None, "redis-server ended"
                assert time.monotonic() < deadline, "redis-server does not accept connections"
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """End it at once, with everything that it keeps."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        """Let it accept connections and answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it answer again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
