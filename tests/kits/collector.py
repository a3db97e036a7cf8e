"""An OpenTelemetry collector for tests: receives OTLP over HTTP as protobuf, and may refuse or hang."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class TestCollector:
    """What arrived: `spans` of all requests, `resources` by their attributes, and the headers."""

    __test__ = False

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._changed = threading.Condition()

    def wait_for(self, name: str, count: int = 1, *, seconds: float = 60) -> list[Any]:
        """Return the spans with this name, once there are so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.named(name)) >= count, seconds), self.names()
            return self.named(name)

    def named(self, name: str) -> list[Any]:
        """Return the spans with this name."""
        return [span for span in self.spans if span.name == name]

    def names(self) -> list[str]:
        """Return the names of all spans."""
        return [span.name for span in self.spans]

    def receive(self, body: bytes, headers: dict[str, str]) -> None:
        """Take the message of an exporter."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        message = ExportTraceServiceRequest.FromString(body)
        with self._changed:
            self.headers.append(headers)
            for part in message.resource_spans:
                self.resources.append({each.key: each.value.string_value for each in part.resource.attributes})
                self.spans += [span for scope in part.scope_spans for span in scope.spans]
            self._changed.notify_all()


@contextmanager
def running_collector() -> Iterator[TestCollector]:
    """Run a collector on a port of the system's choice."""
    collector = TestCollector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.may_answer.wait()
            if collector.status == 200 and self.path == "/v1/traces":
                collector.receive(body, dict(self.headers.items()))
            self.send_response(collector.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    collector.url = f"http://127.0.0.1:{server.server_address[1]}/v1/traces"
    try:
        yield collector
    finally:
        collector.may_answer.set()
        server.shutdown()
        server.server_close()
        thread.join()
