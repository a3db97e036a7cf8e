"""With --model-config-name, both servers choose the same configuration of each model, and serve by it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from benchmarks.reference import reference_server
from benchmarks.serving import Ports, running_server
from tests.reference.answers import ask_grpc, ask_http
from tests.reference.grpc_cases import GrpcCase, request
from tests.reference.http_cases import HttpCase, infer, tensor
from tests.reference.models import PAIR, PAIR_IO, _python
from tests.reference.requirement import skipped_without_reference

# Which configurations a model has, and the largest batch of each.
MODELS = {
    "both": {"config.pbtxt": 8, "configs/small.pbtxt": 2, "configs/large.pbtxt": 16},
    "plain": {"config.pbtxt": 8},
    "other": {"config.pbtxt": 8, "configs/large.pbtxt": 16},
    "custom": {"configs/small.pbtxt": 2},
}
LARGEST = {"both": 2, "plain": 8, "other": 8, "custom": 2}
FLAGS = ("--model-config-name=small", "--exit-on-error=false")


@pytest.fixture(scope="module")
def servers(tmp_path_factory) -> Iterator[tuple[Ports, Ports]]:
    """Yield the ports of Slipway and of the reference server."""
    directory = tmp_path_factory.mktemp("named")
    repository = directory / "models"
    for name, configs in MODELS.items():
        _python(repository, name, PAIR, PAIR_IO)
        (repository / name / "config.pbtxt").unlink()
        (repository / name / "configs").mkdir()
        for path, largest in configs.items():
            config = f'name: "{name}"\nbackend: "python"\nmax_batch_size: {largest}\n{PAIR_IO}'
            (repository / name / path).write_text(config)
    with ExitStack() as stack:
        with skipped_without_reference():
            theirs, _ = stack.enter_context(reference_server(repository, directory / "reference.log", *FLAGS))
        ours = stack.enter_context(running_server(repository, *FLAGS))
        yield ours.ports, theirs


def cases(name: str) -> Iterator[HttpCase | GrpcCase]:
    """Yield the requests for one model: what it is, and batches up to and beyond the largest of any configuration."""
    for path in ("", "/config", "/ready", "/versions/1/config"):
        yield HttpCase(f"{name} {path}", f"/v2/models/{name}{path}", method="GET")
    yield GrpcCase(f"{name} metadata", "ModelMetadata", service_pb2.ModelMetadataRequest(name=name))
    yield GrpcCase(f"{name} ready", "ModelReady", service_pb2.ModelReadyRequest(name=name))
    for rows in (1, 2, 3, 8, 9, 16, 17):
        array = np.arange(rows * 4, dtype=np.float32).reshape(rows, 4)
        values = [int(value) for value in array.ravel()]
        inputs = [tensor(each, "FP32", [rows, 4], values) for each in ("A", "B")]
        yield infer(f"{name} {rows}", name, {"inputs": inputs})
        parts = [(each, "FP32", [rows, 4], array.tobytes()) for each in ("A", "B")]
        yield GrpcCase(f"{name} {rows}", "ModelInfer", request(name, *parts))


@pytest.mark.parametrize("name", MODELS)
def test_both_servers_answer_by_the_same_configuration(servers, name):
    different, succeeded = [], 0
    for case in cases(name):
        answers = []
        for ports in servers:
            if isinstance(case, HttpCase):
                answers.append(ask_http(ports.http, case))
            else:
                with grpc.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
                    answers.append(ask_grpc(service_pb2_grpc.GRPCInferenceServiceStub(channel), case))
        if answers[0] != answers[1]:
            different.append(f"{case.id}: {answers[0]} and {answers[1]}")
        succeeded += isinstance(case, HttpCase) and "/infer" in case.path and answers[0].status.startswith("200")
    assert "\n".join(different) == ""
    assert succeeded == sum(rows <= LARGEST[name] for rows in (1, 2, 3, 8, 9, 16, 17))
