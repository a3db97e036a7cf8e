"""Identity FP32 [1,16] in JSON: through `slipway proxy`, and directly to the server's own HTTP front.

The load comes from one process with the same client for both, in turns. Each figure is the median of `rounds`.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.report import Row
from benchmarks.repositories import write_identity
from benchmarks.serving import running_server

ADDED_MS = 3.0
PER_SECOND = 1500.0
ROUNDS = 3
SECONDS = 3.0
_VALUES = [float(number) for number in range(16)]
_PLAIN = {"INPUT0": [_VALUES]}
_INPUT = {"name": "INPUT0", "datatype": "FP32", "shape": [1, 16], "data": _VALUES}
_ADDRESS = re.compile(r"Proxy at http://\S+:(\d+)")
_START_S = 60.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go, and the whole request as bytes."""

    port: int
    request: bytes

    @staticmethod
    def of(port: int, path: str, body: object) -> Target:
        """Return the target for a body in JSON."""
        data = json.dumps(body, separators=(",", ":")).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: localhost:{port}\r\ncontent-type: application/json\r\n"
        return Target(port, f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)


def proxy(*, rounds: int = ROUNDS, seconds: float = SECONDS) -> list[Row]:
    """Measure the time that the proxy adds to one client's requests, and its rate with 24 clients."""
    alone: list[tuple[float, float]] = []
    rates: list[float] = []
    direct: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        write_identity(Path(scratch), "identity", "identity")
        with running_server(Path(scratch)) as server, _proxy(server.grpc) as port:
            through = Target.of(port, "/models/identity", _PLAIN)
            past = Target.of(server.ports.http, "/v2/models/identity/infer", {"inputs": [_INPUT]})
            for _ in range(rounds):
                alone.append((median(load(through, 1, seconds)), median(load(past, 1, seconds))))
                rates.append(len(load(through, 24, seconds)) / seconds)
                direct.append(len(load(past, 24, seconds)) / seconds)
    added = 1000 * median(one - other for one, other in alone)
    return [
        Row("proxy identity, concurrency 1: p50", 1000 * median(one for one, _ in alone), "ms"),
        Row("direct HTTP identity, concurrency 1: p50", 1000 * median(other for _, other in alone), "ms"),
        Row("proxy identity, concurrency 1: added p50", added, "ms", at_most=ADDED_MS),
        Row("proxy identity, concurrency 24", median(rates), "req/s", at_least=PER_SECOND),
        Row("direct HTTP identity, concurrency 24", median(direct), "req/s"),
    ]


def load(target: Target, clients: int, seconds: float) -> list[float]:
    """Return the seconds that each request took, sent by `clients` connections for `seconds`."""
    import uvloop

    return uvloop.run(_load(target, clients, seconds))


async def _load(target: Target, clients: int, seconds: float) -> list[float]:
    await asyncio.gather(*(_client(target, min(0.5, seconds)) for _ in range(clients)))  # warm-up
    taken = await asyncio.gather(*(_client(target, seconds) for _ in range(clients)))
    return [each for one in taken for each in one]


async def _client(target: Target, seconds: float) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    taken = []
    end = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        writer.write(target.request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise ValueError(head.decode("latin-1"))
        match = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        if match is None:
            raise ValueError(head.decode("latin-1"))
        await reader.readexactly(int(match[1]))
        taken.append(time.perf_counter() - begin)
    writer.close()
    return taken


@contextmanager
def _proxy(server: str) -> Iterator[int]:
    """Run a proxy in front of `server`; yield its port."""
    command = [sys.executable, "-m", "slipway", "proxy", "--port=0", f"--server={server}"]
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log"
        with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
            try:
                deadline = time.monotonic() + _START_S
                while (match := _ADDRESS.search(log.read_text(errors="replace"))) is None:
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise RuntimeError(f"the proxy did not start:\n{log.read_text(errors='replace')[-2000:]}")
                    time.sleep(0.02)
                yield int(match[1])
            finally:
                process.terminate()
