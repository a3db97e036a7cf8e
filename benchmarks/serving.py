"""Run a real `slipway serve` in a separate process, on ports that the system chooses, for benchmarks and tests.

The ports are read from the log, so that servers that start at the same time never use the same one.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 120  # enough to load the models even on a busy machine
STOP_SECONDS = 40
_HOST = "127.0.0.1"
_FRONTS = ("http", "grpc", "metrics")
_FLAGS = [flag for front in _FRONTS for flag in (f"--{front}-port=0", f"--{front}-address={_HOST}")]
_STARTED = {
    "http": re.compile(r"Started HTTPService at \S+:(\d+)"),
    "grpc": re.compile(r"Started GRPCInferenceService at \S+:(\d+)"),
    "metrics": re.compile(r"Started Metrics Service at \S+:(\d+)"),
}


class ServerFailedError(RuntimeError):
    """A server did not start, or did not exit with code 0; the message contains the end of its log."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of a server on 127.0.0.1."""

    http: int
    grpc: int
    metrics: int


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A running server."""

    process: subprocess.Popen[bytes]
    log_file: Path
    ports: Ports

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def http(self) -> str:
        """`host:port` of HTTP, which tritonclient calls the URL."""
        return f"{_HOST}:{self.ports.http}"

    @property
    def grpc(self) -> str:
        """`host:port` of gRPC."""
        return f"{_HOST}:{self.ports.grpc}"

    @property
    def metrics(self) -> str:
        """`host:port` of the metrics."""
        return f"{_HOST}:{self.ports.metrics}"

    @property
    def log(self) -> str:
        """The output of the server so far."""
        return self.log_file.read_text(errors="replace")

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)


@contextmanager
def running_server(
    repository: Path, *flags: str, name: str = "serve", wrapper: tuple[str, ...] = ()
) -> Iterator[RunningServer]:
    """Start `slipway serve`, or the command `name` that does the same, on `repository`; yield it once every listener is
    up, stop it when the block ends.

    `wrapper` is a command that becomes (`exec`) the command that follows it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log"
        own = [sys.executable, "-m", "slipway", name, f"--model-repository={repository}"]
        command = [*wrapper, *own, *_FLAGS, *flags]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            server = RunningServer(process, log, _ports(process, log))
            yield server
            if process.poll() is None and (code := server.stop()):
                raise ServerFailedError(f"the server exited with code {code}:\n{server.log[-4000:]}")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def _ports(process: subprocess.Popen[bytes], log: Path) -> Ports:
    deadline = time.monotonic() + START_SECONDS
    while True:
        text = log.read_text(errors="replace")
        found = {name: int(match.group(1)) for name, pattern in _STARTED.items() if (match := pattern.search(text))}
        if len(found) == len(_STARTED):
            return Ports(**found)
        if process.poll() is not None or time.monotonic() > deadline:
            raise ServerFailedError(f"the server did not start (exit code {process.poll()}):\n{text[-4000:]}")
        time.sleep(0.02)
