"""Both servers on the same repository, started once for the whole comparison."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import grpc
import pytest
from tritonclient.grpc import service_pb2_grpc

from benchmarks.reference import reference_server
from benchmarks.serving import Ports, running_server
from tests.reference.models import write_repository
from tests.reference.requirement import skipped_without_reference


@pytest.fixture(scope="session")
def servers(tmp_path_factory) -> Iterator[tuple[Ports, Ports]]:
    """Yield the ports of Slipway and of the reference server; skip where the latter cannot run."""
    directory = tmp_path_factory.mktemp("reference")
    write_repository(directory / "models")
    with ExitStack() as stack:
        with skipped_without_reference():
            theirs, _ = stack.enter_context(reference_server(directory / "models", directory / "reference.log"))
        ours = stack.enter_context(running_server(directory / "models", "--allow-client-shm"))
        yield ours.ports, theirs


@pytest.fixture(scope="session")
def stubs(servers) -> Iterator[tuple[object, object]]:
    """Yield gRPC stubs of Slipway and of the reference server."""
    with ExitStack() as stack:
        channels = [stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{ports.grpc}")) for ports in servers]
        yield tuple(service_pb2_grpc.GRPCInferenceServiceStub(channel) for channel in channels)
