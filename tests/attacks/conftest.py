"""One real server for all attacks: each test asserts that it still serves as before."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.serving import running_server

SECRET_WORDS = ("tmp/", "/root", "/home", "site-packages", "Traceback", "slipway/", ".py")
CONFIG = """\
backend: "identity"
max_batch_size: {batch}
input [ {{ name: "INPUT0" data_type: {kind} dims: [ {dims} ] }} ]
output [ {{ name: "OUTPUT0" data_type: {kind} dims: [ {dims} ] }} ]
"""
MODELS = {
    "fp32": ("TYPE_FP32", "16", 8),
    "int64": ("TYPE_INT64", "-1", 8),
    "int8": ("TYPE_INT8", "-1", 8),
    "bytes": ("TYPE_STRING", "-1", 8),
    "grid": ("TYPE_FP32", "-1, -1", 0),
}
TWO = """\
backend: "identity"
max_batch_size: 8
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ 2 ] }, { name: "INPUT1" data_type: TYPE_FP32 dims: [ 2 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 2 ] }, { name: "OUTPUT1" data_type: TYPE_FP32 dims: [ 2 ] } ]
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        """The text of a JSON error."""
        return json.loads(self.body)["error"]


@dataclass(frozen=True, slots=True)
class Target:
    """The server under attack."""

    port: int
    pid: int

    def rss(self) -> int:
        """Return its resident memory in bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise ProcessLookupError(self.pid)

    def connect(self) -> socket.socket:
        """Return a fresh connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def send(self, data: bytes) -> bytes:
        """Send raw bytes on a new connection and return everything received until it is closed or silent."""
        with self.connect() as connection:
            # The server may refuse early and close; its response can still be read.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(data)
            return read_all(connection)

    def ask(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        """Send a well-framed request and return the response."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers), response.read())
        finally:
            connection.close()

    def infer(self, model: str, request: object, blobs: bytes = b"", **headers: str) -> Answer:
        """Send an infer request; `request` is JSON or bytes."""
        body = request if isinstance(request, bytes) else json.dumps(request).encode()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if blobs:
            given.setdefault("Inference-Header-Content-Length", str(len(body)))
        return self.ask("POST", f"/v2/models/{model}/infer", body + blobs, given)


def read_all(connection: socket.socket, silence_s: float = 2.0) -> bytes:
    """Return everything received until the peer closes, resets or is silent."""
    connection.settimeout(silence_s)
    parts = []
    while True:
        try:
            part = connection.recv(65536)
        except (TimeoutError, ConnectionResetError):
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts)


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[Target]:
    """Yield a running server with identity models."""
    directory = tmp_path_factory.mktemp("attacks")
    for name, (kind, dims, batch) in MODELS.items():
        (directory / "models" / name / "1").mkdir(parents=True)
        (directory / "models" / name / "config.pbtxt").write_text(CONFIG.format(kind=kind, dims=dims, batch=batch))
    (directory / "models" / "two" / "1").mkdir(parents=True)
    (directory / "models" / "two" / "config.pbtxt").write_text(TWO)
    with running_server(directory / "models") as running:
        yield Target(running.ports.http, running.pid)


@pytest.fixture
def target(server) -> Iterator[Target]:
    """Yield the server, and assert afterwards that it serves as before."""
    yield server
    request = {"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [1, 16], "data": list(range(16))}]}
    answer = server.infer("fp32", request)
    assert answer.status == 200, answer
    assert json.loads(answer.body)["outputs"][0]["data"] == list(range(16))


def assert_refused(answer: Answer, text: str = "", status: int = 400) -> None:
    """Assert that the response is a typed error that contains `text` and leaks nothing internal."""
    assert answer.status == status, answer
    error = answer.error
    assert text in error
    assert not [word for word in SECRET_WORDS if word in error], error
    assert len(error) < 4096
