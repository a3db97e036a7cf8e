"""The two servers of a fuzz, on one repository; the reference is started again when it dies."""

from __future__ import annotations

import http.client
import json
from contextlib import ExitStack
from pathlib import Path

import grpc
from tritonclient.grpc import service_pb2_grpc

from benchmarks.reference import reference_server
from benchmarks.serving import RunningServer, running_server
from tests.reference.answers import Answer, ask_grpc, ask_http
from tests.reference.fuzz.cases import Step
from tests.reference.fuzz.control import write_controlled
from tests.reference.fuzz.signatures import Signature, read_signatures
from tests.reference.http_cases import HttpCase
from tests.reference.models import write_repository

FLAGS = ("--model-control-mode=explicit", "--load-model=*")
LOST = "LOST"  # the status where the connection ended without an answer


class ServerDiedError(AssertionError):
    """Slipway died; the message names the request and the end of the log."""


class Servers:
    """Both servers; a context manager that ends them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stack = ExitStack()
        self._reference = ExitStack()
        self._stub: dict[int, service_pb2_grpc.GRPCInferenceServiceStub] = {}
        self._deaths = 0
        self._lost = False  # whether the reference has left a request without an answer since the last look
        self._ours: RunningServer
        self._their_http = self._their_grpc = 0
        self.signatures: tuple[Signature, ...] = ()

    def __enter__(self) -> Servers:
        write_repository(self._directory / "models")
        write_controlled(self._directory / "models")
        self._stack.callback(self._reference.close)
        try:
            self._start_reference()
            self._ours = self._stack.enter_context(running_server(self._directory / "models", *FLAGS))
            self.signatures = read_signatures(self._their_http)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _start_reference(self) -> None:
        log = self._directory / f"reference-{self._deaths}.log"
        ports, _ = self._reference.enter_context(reference_server(self._directory / "models", log, *FLAGS))
        self._their_http, self._their_grpc = ports.http, ports.grpc

    def ask(self, step: Step) -> tuple[Answer, Answer]:
        """Send a request to both; return Slipway's answer and the reference's. Raise `ServerDiedError`."""
        ours = self._ask(self._ours.ports.http, self._ours.ports.grpc, step)
        if self._ours.process.poll() is not None:
            raise ServerDiedError(f"Slipway died of\n{shown(step)}\n{self._ours.log[-3000:]}")
        theirs = self._ask(self._their_http, self._their_grpc, step)
        self._lost |= theirs.status in (LOST, "UNAVAILABLE") or "UNAVAILABLE" in str(theirs.content)
        return ours, theirs

    def _ask(self, http_port: int, grpc_port: int, step: Step) -> Answer:
        try:
            if isinstance(step, HttpCase):
                return ask_http(http_port, step)
            return ask_grpc(self._stub_of(grpc_port), step)
        except (OSError, http.client.HTTPException) as error:
            return Answer(LOST, type(error).__name__)

    def _stub_of(self, port: int) -> service_pb2_grpc.GRPCInferenceServiceStub:
        if port not in self._stub:
            channel = self._stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{port}"))
            self._stub[port] = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        return self._stub[port]

    def revive_if_lost(self) -> bool:
        """Start the reference again if it died; return whether it did."""
        if not self._lost:
            return False
        self._lost = False
        if self._ask(self._their_http, self._their_grpc, HttpCase("live", "/v2/health/live", "GET")).status != LOST:
            return False
        self._deaths += 1
        self._reference.close()
        self._start_reference()
        return True


def shown(step: Step) -> str:
    """Return a request as a reader can repeat it."""
    if isinstance(step, HttpCase):
        headers = "".join(f"\n  {name}: {value!r}" for name, value in step.headers.items())
        return f"{step.method} {step.path}{headers}\n  {step.body!r}"
    messages = step.request if isinstance(step.request, tuple) else (step.request,)
    return f"{step.method}" + "".join("\n  " + json.dumps(str(message)) for message in messages)
