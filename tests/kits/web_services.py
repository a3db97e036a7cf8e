"""Web services on this machine that a test can disturb: a proxy whose answers it changes, a base for small fakes."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

_OWN_HEADERS = {"connection", "keep-alive", "transfer-encoding", "server", "date"}


@dataclass
class Reply:
    """A response; `sent` is what of the body is sent, if not all of it."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    sent: bytes | None = None


Answer = Callable[["Asked"], Reply]
Change = Callable[[Reply], Reply]


@dataclass(frozen=True)
class Asked:
    """A request; `path` includes the query."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Service:
    """A web service that answers with a function; `asked` is what it was asked, `changes` are applied to its answers to
    requests whose path contains the key."""

    def __init__(self, answer: Answer) -> None:
        self.asked: list[Asked] = []
        self.changes: dict[str, Change] = {}
        self._answer = answer
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                reply = outer.reply(Asked(self.command, self.path, dict(self.headers), body))
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                if {"content-length", "transfer-encoding"}.isdisjoint(name.lower() for name in reply.headers):
                    self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.body if reply.sent is None else reply.sent)
                if reply.sent is not None:
                    self.close_connection = True

            do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815  the names of the base class

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"127.0.0.1:{self.server.server_port}"

    def reply(self, asked: Asked) -> Reply:
        """Return the answer to a request."""
        self.asked.append(asked)
        reply = self._answer(asked)
        for text, change in self.changes.items():
            if text in asked.path:
                reply = change(reply)
        return reply

    def count(self, text: str, method: str = "GET") -> int:
        """Return how many requests had `text` in their path."""
        return sum(asked.method == method and text in asked.path for asked in self.asked)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


@contextmanager
def proxy_of(address: str) -> Iterator[Service]:
    """Run a proxy in front of the service at `address` (host:port)."""

    def forward(asked: Asked) -> Reply:
        connection = http.client.HTTPConnection(address, timeout=20)
        try:
            connection.request(asked.method, asked.path, asked.body or None, asked.headers)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        headers = {name: value for name, value in response.getheaders() if name.lower() not in _OWN_HEADERS}
        return Reply(response.status, headers, body)

    with Service(forward) as service:
        yield service


# Changes


def failing(reply: Reply) -> Reply:
    """Answer 500."""
    return Reply(500, {"Content-Type": "text/plain"}, b"out of order")


def half(reply: Reply) -> Reply:
    """Promise everything, send half, close."""
    return Reply(reply.status, reply.headers, reply.body, sent=reply.body[: len(reply.body) // 2])


def short(reply: Reply) -> Reply:
    """Send half as if it were everything."""
    headers = {name: value for name, value in reply.headers.items() if name.lower() != "content-length"}
    return Reply(reply.status, headers, reply.body[: len(reply.body) // 2])


def damaged(reply: Reply) -> Reply:
    """Change one bit."""
    if not reply.body:
        return reply
    return Reply(reply.status, reply.headers, bytes([reply.body[0] ^ 1]) + reply.body[1:])


def longer(reply: Reply) -> Reply:
    """Send more than there is."""
    headers = {name: value for name, value in reply.headers.items() if name.lower() != "content-length"}
    return Reply(reply.status, headers, reply.body + b"more")


def nonsense(reply: Reply) -> Reply:
    """Answer with what no protocol says."""
    return Reply(200, {"Content-Type": "application/xml"}, b"<nonsense")
