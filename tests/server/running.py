"""A real `slipway serve` in a process of its own, on ports the system chose."""

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

START_SECONDS = 60
STOP_SECONDS = 40
_PORTS = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")
_LOCAL = ("--http-address", "127.0.0.1", "--grpc-address", "127.0.0.1", "--metrics-address", "127.0.0.1")
_STARTED = {
    "http": re.compile(r"Started HTTPService at (\S+:\d+)"),
    "grpc": re.compile(r"Started GRPCInferenceService at (\S+:\d+)"),
    "metrics": re.compile(r"Started Metrics Service at (\S+:\d+)"),
}


@dataclass(slots=True)
class RunningServer:
    """A server that is up; `http`, `grpc` and `metrics` are `host:port`."""

    process: subprocess.Popen[bytes]
    log_file: Path
    http: str
    grpc: str
    metrics: str

    @property
    def log(self) -> str:
        """What the server wrote so far."""
        return self.log_file.read_text(errors="replace")

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)


@contextmanager
def running_server(repository: Path, *flags: str) -> Iterator[RunningServer]:
    """Start `slipway serve` on `repository`, yield it once every listener is up, stop it when the block ends."""
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log"
        command = [sys.executable, "-m", "slipway", "serve", str(repository), *_PORTS, *_LOCAL, *flags]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield RunningServer(process, log, **_addresses(process, log))
            if process.poll() is None:
                process.terminate()
                code = process.wait(STOP_SECONDS)
                assert code == 0, f"the server ended with {code}:\n{log.read_text(errors='replace')[-4000:]}"
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def _addresses(process: subprocess.Popen[bytes], log: Path) -> dict[str, str]:
    deadline = time.monotonic() + START_SECONDS
    while True:
        text = log.read_text(errors="replace")
        found = {name: match.group(1) for name, pattern in _STARTED.items() if (match := pattern.search(text))}
        if len(found) == len(_STARTED):
            return found
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the server did not start (exit code {process.poll()}):\n{text[-4000:]}")
        time.sleep(0.02)
