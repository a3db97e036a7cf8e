"""Under a limit on its memory, the server refuses what does not fit, and goes on serving."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from benchmarks.serving import RunningServer, running_server
from tests.attacks.conftest import CONFIG, Target

MIB = 1 << 20
REQUESTS = 6
SIZE = 60 * MIB
LIMIT = 1600 * MIB  # bytes; without a bound, the requests and their answers would take more than 2 GiB
CGROUPS = Path("/sys/fs/cgroup")
# A shell limits itself, then becomes the program given as its arguments.
ULIMIT = f'ulimit -v {LIMIT >> 10} && exec "$@"'
REFUSED = {400: "exceeds the maximum allowed input size", 503: "try again later"}


@pytest.fixture
def models(tmp_path) -> Path:
    """Return a repository of identity models."""
    for name, kind in (("fp32", "TYPE_FP32"), ("bytes", "TYPE_STRING")):
        (tmp_path / "models" / name / "1").mkdir(parents=True)
        (tmp_path / "models" / name / "config.pbtxt").write_text(CONFIG.format(kind=kind, dims="-1", batch=8))
    return tmp_path / "models"


@contextmanager
def memory_cgroup() -> Iterator[Path]:
    """Yield a fresh memory cgroup with the limit; skip if this system does not let us make one."""
    version_2 = (CGROUPS / "cgroup.controllers").exists()
    root = CGROUPS if version_2 else CGROUPS / "memory"
    group = root / f"slipway-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    try:
        try:
            (group / ("memory.max" if version_2 else "memory.limit_in_bytes")).write_text(str(LIMIT))
        except OSError as error:
            pytest.skip(f"a cgroup's memory cannot be limited here: {error}")
        yield group
    finally:
        group.rmdir()


@pytest.fixture(params=["ulimit", "cgroup"])
def limited(request, models) -> Iterator[RunningServer]:
    """Yield a server that may use `LIMIT` bytes of virtual memory, or of main memory."""
    if request.param == "ulimit":
        with running_server(models, "--grpc-engine=grpcio", wrapper=("sh", "-c", ULIMIT, "limited")) as server:
            yield server
        return
    with memory_cgroup() as group:
        joining = f'echo $$ > {group}/cgroup.procs && exec "$@"'
        with running_server(models, "--grpc-engine=grpcio", wrapper=("sh", "-c", joining, "limited")) as server:
            yield server


def ask(port: int, model: str, body: bytes, json_size: int) -> tuple[int, bytes]:
    """Return the status and the size or error of a request's answer, which is read and dropped."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request(
            "POST", f"/v2/models/{model}/infer", body, {"Inference-Header-Content-Length": str(json_size)}
        )
        response = connection.getresponse()
        if response.status != 200:
            return response.status, response.read()
        last = b""
        while part := response.read(MIB):
            last = part
        return 200, last[-3:]
    except (ConnectionResetError, BrokenPipeError):  # refused while the body was being sent
        return 503, b'{"error":"try again later"}'
    finally:
        connection.close()


def numbers() -> tuple[str, bytes, int]:
    """Return a request with 60 MiB of numbers, whose answer is JSON."""
    count = SIZE // 4
    blob = np.full(count, 0.25, np.float32).tobytes()
    entry = {"name": "INPUT0", "datatype": "FP32", "shape": [1, count], "parameters": {"binary_data_size": SIZE}}
    head = json.dumps({"inputs": [entry]}).encode()
    return "fp32", head + blob, len(head)


def control_characters() -> tuple[str, bytes, int]:
    """Return a request with 60 MiB of characters that JSON writes with six bytes each."""
    raw = (MIB).to_bytes(4, "little") + b"\x01" * MIB
    count = SIZE // MIB
    blob = raw * count
    entry = {"name": "INPUT0", "datatype": "BYTES", "shape": [1, count], "parameters": {"binary_data_size": len(blob)}}
    head = json.dumps({"inputs": [entry]}).encode()
    return "bytes", head + blob, len(head)


@pytest.mark.parametrize("make", [numbers, control_characters])
def test_large_requests_at_once_are_answered_or_refused_and_the_server_lives(limited, make):
    model, body, json_size = make()
    found: list[tuple[int, bytes]] = []
    threads = [
        threading.Thread(target=lambda: found.append(ask(limited.ports.http, model, body, json_size)))
        for _ in range(REQUESTS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == REQUESTS
    for status, text in found:
        assert status in (200, *REFUSED), (status, text, limited.log[-4000:])
        if status == 200:
            assert text == b"]}]}"[-3:]
        else:
            assert REFUSED[status] in json.loads(text)["error"]
    if make is numbers:
        assert 200 in {status for status, _ in found}, found
    target = Target(limited.ports.http, limited.pid)
    request = {"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
    for _ in range(3):
        answer = target.infer("fp32", request)
        assert json.loads(answer.body)["outputs"][0]["data"] == [1, 2, 3, 4]
    assert limited.process.poll() is None


def test_the_default_budget_is_a_quarter_of_what_ulimit_leaves():
    program = "from slipway.core.budget import default_budget; print(default_budget())"
    command = ["sh", "-c", ULIMIT, "limited", sys.executable, "-c", program]
    found = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert LIMIT // 8 < found < LIMIT // 4


def test_the_default_budget_is_a_quarter_of_the_cgroups_memory():
    with memory_cgroup() as group:
        program = "from slipway.core.budget import default_budget; print(default_budget())"
        joining = f'echo $$ > {group}/cgroup.procs && exec "$@"'
        command = ["sh", "-c", joining, "limited", sys.executable, "-c", program]
        found = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert found == LIMIT // 4
