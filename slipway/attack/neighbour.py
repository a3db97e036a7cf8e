"""A neighbour of the attacks: a process of its own that checks the server's health all the time and notes how long
that takes, and how much memory the server has, if its process id is known.

In a process of its own, because the attacks keep this interpreter busy and would be measured too. Standard input says
`begin` and `end`; each `end` is answered with a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from slipway.attack.loopback import LoopbackAddress

_PAUSE_S: Final = 0.01
_LONGEST_S: Final = 10.0
_PERCENTILE: Final = 0.99


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """How a neighbour fared during a group: health checks, milliseconds and MiB; memory is None if it is unknown."""

    checks: int
    failed: int
    p99_ms: float
    worst_ms: float
    peak_mib: float | None  # above what the server had before
    kept_mib: float | None  # the same, after the group


class Neighbour:
    """The process that checks, while `watching`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def begin(self) -> None:
        """Start to measure."""
        await self._say(b"begin\n")

    async def end(self) -> Neighbourhood:
        """Stop and return what was measured since `begin`."""
        await self._say(b"end\n")
        assert self._process.stdout is not None  # noqa: S101 - it was opened as a pipe
        return Neighbourhood(**json.loads(await self._process.stdout.readline()))

    async def _say(self, word: bytes) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it was opened as a pipe
        self._process.stdin.write(word)
        await self._process.stdin.drain()


@asynccontextmanager
async def neighbour(address: LoopbackAddress, path: str, pid: int | None) -> AsyncIterator[Neighbour]:
    """Yield a neighbour that checks `path`."""
    command = [sys.executable, "-m", "slipway.attack.neighbour", address.ip, str(address.port), path, str(pid or 0)]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    try:
        yield Neighbour(process)
    finally:
        assert process.stdin is not None  # noqa: S101 - it was opened as a pipe
        process.stdin.close()
        await process.wait()


def resident_mib(pid: int) -> float | None:
    """Return the resident memory of a process in MiB, None where it cannot be read."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return None
    found = [line for line in text.splitlines() if line.startswith("VmRSS:")]
    return int(found[0].split()[1]) / 1024 if found else None


# In the process


class _Checker(threading.Thread):
    """Checks until it is stopped."""

    def __init__(self, address: LoopbackAddress, path: str, pid: int) -> None:
        super().__init__(daemon=True)
        self._address, self._pid = address, pid
        self._request = f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode()
        self._done = threading.Event()
        self._times: list[float] = []
        self._failed = 0
        self._before = self._peak = resident_mib(pid) if pid else None

    def run(self) -> None:
        while not self._done.wait(_PAUSE_S if self._times else 0):
            started = time.monotonic()
            self._failed += not self._is_live()
            self._times.append(time.monotonic() - started)
            if self._peak is not None:
                self._peak = max(self._peak, resident_mib(self._pid) or 0.0)

    def _is_live(self) -> bool:
        try:
            with socket.create_connection((self._address.ip, self._address.port), timeout=_LONGEST_S) as connection:
                connection.sendall(self._request)
                received = b""
                while part := connection.recv(4096):
                    received += part
        except OSError:
            return False
        return received[8:13] == b" 200 "

    def result(self) -> dict[str, Any]:
        """Stop, and return the fields of a `Neighbourhood`."""
        self._done.set()
        self.join()
        times = sorted(self._times)
        after = resident_mib(self._pid) if self._pid else None
        known = self._before is not None and self._peak is not None and after is not None
        return {
            "checks": len(times),
            "failed": self._failed,
            "p99_ms": 1000 * times[int(_PERCENTILE * (len(times) - 1))],
            "worst_ms": 1000 * times[-1],
            "peak_mib": max(self._peak, after) - self._before if known else None,  # type: ignore[operator, type-var]
            "kept_mib": after - self._before if known else None,  # type: ignore[operator]
        }


def _main(arguments: list[str]) -> None:
    ip, port, path, pid = arguments
    checker: _Checker | None = None
    for line in sys.stdin:
        if line == "begin\n":
            checker = _Checker(LoopbackAddress(ip, int(port)), path, int(pid))
            checker.start()
        elif checker is not None:
            sys.stdout.write(json.dumps(checker.result()) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    _main(sys.argv[1:])
