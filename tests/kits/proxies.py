"""Proxies in processes of their own, and plain HTTP requests to them."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

_START_S = 60
_STOP_S = 40
_ADDRESS = re.compile(r"Proxy at http://\S+:(\d+)")


class Reply(NamedTuple):
    """A response; `json` is its body."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class RunningProxy:
    """A proxy on 127.0.0.1."""

    process: subprocess.Popen[bytes]
    port: int
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_STOP_S)

    def get(self, path: str, **headers: str) -> Reply:
        return request(self.port, "GET", path, None, headers)

    def post(self, path: str, body: object, **headers: str) -> Reply:
        """Send a body as it is (bytes), or as JSON; `_` in names of headers stands for `-`."""
        return request(self.port, "POST", path, body, headers)


def request(port: int, method: str, path: str, body: object, headers: Mapping[str, str]) -> Reply:
    """Send one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, data, named)
        response = connection.getresponse()
        return Reply(response.status, response.headers, response.read())
    finally:
        connection.close()


@contextmanager
def running_proxy(
    server: str, *flags: str, variables: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator[RunningProxy]:
    """Start `slipway proxy` in front of `server` (HOST:PORT of gRPC); stop it when the block ends."""
    own = [sys.executable, "-m", "slipway", "proxy", "--port=0", f"--server={server}", *flags]
    with started_proxy(own, variables=variables, cwd=cwd) as proxy:
        yield proxy


@contextmanager
def started_proxy(
    command: list[str], *, variables: Mapping[str, str] | None = None, cwd: Path | None = None, port: int = 0
) -> Iterator[RunningProxy]:
    """Run a command that serves a proxy; without `port`, its log has to say where."""
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **(variables or {})}, cwd=cwd
            )
        try:
            proxy = RunningProxy(process, port or _port(process, log), log)
            _await_listener(proxy)
            yield proxy
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(_STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + _START_S
    while (match := _ADDRESS.search(log.read_text(errors="replace"))) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the proxy did not start (exit code {process.poll()}):\n{log.read_text()[-4000:]}")
        time.sleep(0.02)
    return int(match.group(1))


def _await_listener(proxy: RunningProxy) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            proxy.get("/openapi.json")
        except OSError:
            if proxy.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the proxy does not answer:\n{proxy.log[-4000:]}") from None
            time.sleep(0.02)
        else:
            return
