"""Shared memory is registered, used and refused as by NVIDIA's tritonserver, over both transports."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from tests.kits.shared_memory import DIRECTORY, needs_shared_memory
from tests.reference.answers import ask_grpc, ask_http
from tests.reference.differences import REGION_DIFFERENCES, region_reason
from tests.reference.http_cases import HttpCase
from tests.reference.region_cases import KEY, OTHER_KEY, SIZE, RegionCase, grpc_cases, http_cases

pytestmark = needs_shared_memory
HTTP, GRPC = http_cases(), grpc_cases()
CONTENT = np.fromiter(islice(cycle((0.5, 1, 2, 3)), SIZE // 4), np.float32).tobytes()


@pytest.fixture
def memories() -> Iterator[list[Path]]:
    """The memories that the cases register; both servers run on this machine."""
    paths = [DIRECTORY / key for key in (KEY, OTHER_KEY)]
    yield paths
    for path in paths:
        path.unlink(missing_ok=True)


def reset(memories: list[Path]) -> None:
    for path in memories:
        path.write_bytes(CONTENT)


def digests(memories: list[Path]) -> list[str]:
    return [sha256(path.read_bytes()).hexdigest() for path in memories]


def judge(case: str, ours: object, theirs: object) -> None:
    """Fail for a difference that is not intended, and for an intended one that is not there."""
    why = region_reason(case)
    if why is None:
        assert ours == theirs, f"\n  slipway:   {ours}\n  reference: {theirs}"
    else:
        assert ours != theirs, f"listed as different ({why}) but both say {ours}"


def over_http(port: int, case: RegionCase, memories: list[Path]) -> tuple[object, ...]:
    root = "/v2/systemsharedmemory"
    ask_http(port, HttpCase("", f"{root}/unregister"))
    reset(memories)
    for name, key, offset, size in case.given:
        body = json.dumps({"key": key, "offset": offset, "byte_size": size}).encode()
        assert ask_http(port, HttpCase("", f"{root}/region/{name}/register", body=body)).status == "200"
    answer = ask_http(port, case.question)
    status = ask_http(port, HttpCase("", f"{root}/status", "GET"))
    return answer, status, digests(memories)


def over_grpc(stub: object, case: RegionCase, memories: list[Path]) -> tuple[object, ...]:
    stub.SystemSharedMemoryUnregister(pb.SystemSharedMemoryUnregisterRequest())
    reset(memories)
    for name, key, offset, size in case.given:
        row = pb.SystemSharedMemoryRegisterRequest(name=name, key=key, offset=offset, byte_size=size)
        stub.SystemSharedMemoryRegister(row)
    answer = ask_grpc(stub, case.question)
    status = stub.SystemSharedMemoryStatus(pb.SystemSharedMemoryStatusRequest())
    return answer, str(status), digests(memories)


@pytest.mark.parametrize("case", HTTP, ids=lambda case: case.id)
def test_http_answers_are_the_same(servers, memories, case):
    ours, theirs = servers
    judge(f"http:{case.id}", over_http(ours.http, case, memories), over_http(theirs.http, case, memories))


@pytest.mark.parametrize("case", GRPC, ids=lambda case: case.id)
def test_grpc_answers_are_the_same(stubs, memories, case):
    ours, theirs = stubs
    judge(f"grpc:{case.id}", over_grpc(ours, case, memories), over_grpc(theirs, case, memories))


def test_every_listed_difference_names_a_case():
    known = [f"http:{case.id}" for case in HTTP] + [f"grpc:{case.id}" for case in GRPC]
    reasons = {region_reason(case) for case in known}
    assert [pattern for pattern, why in REGION_DIFFERENCES.items() if why not in reasons] == []


def test_every_case_has_an_id_of_its_own():
    for cases in (HTTP, GRPC):
        ids = [case.id for case in cases]
        assert len(ids) == len(set(ids))
