"""Sequences that never end: their places are taken back, the memory stays flat, and other models serve meanwhile."""

from __future__ import annotations

import json
import queue
import time

import numpy as np
import pytest
import tritonclient.grpc

from benchmarks.serving import running_server
from tests.attacks.conftest import Target
from tests.kits.calls import tensors
from tests.kits.repositories import add_identity, write_config

ROUND = 2000  # sequences, of about 3 MB
AT_ONCE = 500  # requests that are sent before their responses are read
IDLE_US = 200_000
CONFIG = """backend: "identity"
input { name: "INPUT0" data_type: TYPE_INT32 dims: [ 1 ] }
output { name: "OUTPUT0" data_type: TYPE_INT32 dims: [ 1 ] }
sequence_batching {
  max_sequence_idle_microseconds: %d
  direct { }
  control_input { name: "START" control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } }
  control_input { name: "CORRID" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } }
}
instance_group { count: 1 kind: KIND_CPU }
"""
OLDEST = CONFIG.replace("direct { }", "oldest { max_candidate_sequences: 1000000 }")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    write_config(root, "direct", CONFIG % IDLE_US)
    write_config(root, "many", OLDEST % IDLE_US)
    add_identity(root)
    with running_server(root) as running:
        yield running


def request(model: str, sequence: int, *, start: bool) -> bytes:
    parameters = {"sequence_id": sequence, "sequence_start": start}
    tensor = {"name": "INPUT0", "datatype": "INT32", "shape": [1], "data": [7]}
    body = json.dumps({"parameters": parameters, "inputs": [tensor]}).encode()
    head = b"POST /v2/models/%b/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    return head % (model.encode(), len(body)) + body


def answers(connection, data: bytes, count: int) -> bytes:
    """Send requests at once; return all their responses."""
    connection.sendall(data)
    received = bytearray()
    while received.count(b"HTTP/1.1 ") < count or not received.endswith(b"}"):
        part = connection.recv(1 << 20)
        assert part
        received += part
    return bytes(received)


def open_sequences(target: Target, first: int, count: int) -> None:
    with target.connect() as connection:
        for start in range(first, first + count, AT_ONCE):
            data = b"".join(request("many", number, start=True) for number in range(start, start + AT_ONCE))
            received = answers(connection, data, AT_ONCE)
            assert received.count(b"HTTP/1.1 200") == AT_ONCE


@pytest.mark.timeout(300)
def test_sequences_that_never_end_leave_the_memory_flat(server):
    target = Target(server.ports.http, server.pid)
    open_sequences(target, 1, ROUND)
    before = target.rss()
    for part in range(1, 4):
        time.sleep(2 * IDLE_US / 1e6)
        open_sequences(target, 1 + part * ROUND, ROUND)
    assert target.rss() - before < 4 << 20
    answer = target.infer(
        "identity", {"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [1, 1], "data": [1]}]}
    )
    assert answer.status == 200


def test_a_sequence_that_has_gone_idle_is_not_there_and_its_place_is(server):
    target = Target(server.ports.http, server.pid)
    with target.connect() as connection:
        assert answers(connection, request("direct", 1, start=True), 1).startswith(b"HTTP/1.1 200")
        time.sleep(2 * IDLE_US / 1e6)
        late = answers(connection, request("direct", 1, start=False), 1)
        assert late.startswith(b"HTTP/1.1 400")
        assert b"must specify the START flag on the first request" in late
        assert answers(connection, request("direct", 2, start=True), 1).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("sequence", [-1, 1.5, True, [], {}, None, 2**64], ids=str)
def test_an_id_of_another_kind_is_refused(server, sequence):
    target = Target(server.ports.http, server.pid)
    tensor = {"name": "INPUT0", "datatype": "INT32", "shape": [1], "data": [7]}
    body = {"parameters": {"sequence_id": sequence, "sequence_start": True}, "inputs": [tensor]}
    answer = target.infer("direct", body)
    assert answer.status in (400, 500)  # as tritonserver
    assert "sequence_id" in answer.error


def test_a_stream_ends_although_its_sequence_has_gone_idle(server):
    received: queue.Queue[object] = queue.Queue()
    given = tensors(tritonclient.grpc, {"INPUT0": np.array([7], np.int32)})
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        client.start_stream(lambda result, error: received.put(error or result))
        client.async_stream_infer("direct", given, sequence_id=9, sequence_start=True)
        assert received.get(timeout=20).as_numpy("OUTPUT0").item() == 7
        time.sleep(2 * IDLE_US / 1e6)
        client.async_stream_infer("direct", given, sequence_id=9)
        assert "must specify the START flag" in str(received.get(timeout=20))
        client.stop_stream()
        assert client.infer("direct", given, sequence_id=9, sequence_start=True).as_numpy("OUTPUT0").item() == 7
