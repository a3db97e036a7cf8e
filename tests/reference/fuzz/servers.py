"""The two servers of a fuzz, on one repository; the reference is started again when it dies."""

from __future__ import annotations

import http.client
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import grpc
from google.protobuf.text_format import MessageToString
from tritonclient.grpc import service_pb2_grpc

from benchmarks.reference import reference_server
from benchmarks.serving import RunningServer, running_server
from tests.reference.answers import Answer, ask_grpc, ask_http
from tests.reference.fuzz.cases import Step
from tests.reference.fuzz.control import write_controlled
from tests.reference.fuzz.signatures import Signature, read_signatures
from tests.reference.http_cases import HttpCase
from tests.reference.models import CONTROLLED, write_repository

FLAGS = ("--model-control-mode=explicit", "--load-model=*")
LOST = "LOST"  # the status where the connection ended without an answer


class ServerDiedError(AssertionError):
    """Slipway died; the message names the request and the end of the log."""


class Servers:
    """Both servers; a context manager that ends them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stack = ExitStack()
        self._starts = 0
        self._lost = False  # whether the reference has left a request without an answer since the last look
        self._ours: RunningServer
        self._stubs: dict[int, service_pb2_grpc.GRPCInferenceServiceStub] = {}
        self._their_http = self._their_grpc = 0
        self.signatures: tuple[Signature, ...] = ()

    def __enter__(self) -> Self:
        write_repository(self._directory / "models")
        write_controlled(self._directory / "models")
        self._start()
        self.signatures = tuple(each for each in read_signatures(self._their_http) if each.name != CONTROLLED)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        self._starts += 1
        models, log = self._directory / "models", self._directory / f"reference-{self._starts}.log"
        with ExitStack() as stack:
            ports, _ = stack.enter_context(reference_server(models, log, *FLAGS))
            self._ours = stack.enter_context(
                running_server(models, *FLAGS, "--allow-model-upload", "--allow-client-shm")
            )
            self._their_http, self._their_grpc = ports.http, ports.grpc
            self._stubs = {port: self._stub(stack, port) for port in (self._their_grpc, self._ours.ports.grpc)}
            self._stack = stack.pop_all()

    @staticmethod
    def _stub(stack: ExitStack, port: int) -> service_pb2_grpc.GRPCInferenceServiceStub:
        channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{port}"))
        return service_pb2_grpc.GRPCInferenceServiceStub(channel)

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
            return ask_grpc(self._stubs[grpc_port], step)
        except (OSError, http.client.HTTPException) as error:
            return Answer(LOST, type(error).__name__)

    def revive_if_lost(self) -> bool:
        """Start both servers again, in the same state, if the reference died; return whether it did."""
        if not self._lost:
            return False
        self._lost = False
        if self._ask(self._their_http, self._their_grpc, HttpCase("live", "/v2/health/live", "GET")).status != LOST:
            return False
        self._stack.close()
        self._start()
        return True


def shown(step: Step) -> str:
    """Return a request as a reader can repeat it."""
    if isinstance(step, HttpCase):
        headers = "".join(f"\n  {name}: {value!r}" for name, value in step.headers.items())
        return f"{step.method} {step.path}{headers}\n  {step.body!r}"
    messages = step.request if isinstance(step.request, tuple) else (step.request,)
    return step.method + "".join(f"\n  {MessageToString(message, as_one_line=True)}" for message in messages)
