"""Everything that input can fill has a bound: each test fills one, on a server of its own with small limits."""

from __future__ import annotations

import gzip
import json
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from benchmarks.serving import running_server
from tests.attacks.conftest import CONFIG, MODELS, Target, assert_refused, read_all

MIB = 2**20
INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
BUDGET = 8 * MIB
FLAGS = (f"--max-buffered-bytes={BUDGET}", f"--grpc-max-message-bytes={4 * MIB}", "--grpc-engine=asyncio")
SIXTEEN = {"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [1, 16], "data": [0.0] * 16}]}


class Bounded(Target):
    """A server with small limits."""

    grpc_port: int

    def high_water(self) -> int:
        """Return the most memory that was resident since `forget`, in bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise ProcessLookupError(self.pid)

    def forget(self) -> int:
        """Start measuring the high water mark; return the memory in use."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        return self.rss()


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """Return a repository with identity models."""
    models = tmp_path_factory.mktemp("bounds")
    for name, (kind, dims, batch) in MODELS.items():
        (models / name / "1").mkdir(parents=True)
        (models / name / "config.pbtxt").write_text(CONFIG.format(kind=kind, dims=dims, batch=batch))
    return models


@pytest.fixture(scope="module")
def server(repository) -> Iterator[tuple[Bounded, str]]:
    """Yield a server with small limits and its gRPC address."""
    with running_server(repository, *FLAGS) as running:
        yield Bounded(running.ports.http, running.pid), running.grpc


@pytest.fixture
def bounded(server) -> Iterator[Bounded]:
    """Yield the server, and assert afterwards that it serves as before."""
    yield server[0]
    assert server[0].infer("fp32", SIXTEEN).status == 200


@pytest.fixture
def call(server) -> Iterator[Callable[..., bytes]]:
    """Yield a function that makes a ModelInfer call."""
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(server[1], options=unlimited) as channel:
        yield channel.unary_unary(INFER)


def message(model: str, datatype: str, count: int, *raws: bytes, **fields: object) -> service_pb2.ModelInferRequest:
    """Return a ModelInferRequest with one input."""
    made = service_pb2.ModelInferRequest(model_name=model, raw_input_contents=raws, **fields)
    made.inputs.add(name="INPUT0", datatype=datatype, shape=[1, count])
    return made


def document(datatype: str, count: int, data: str) -> bytes:
    """Return an infer request with one input."""
    return b'{"inputs":[{"name":"INPUT0","datatype":"%b","shape":[1,%d],"data":%b}]}' % (
        datatype.encode(),
        count,
        data.encode(),
    )


def test_a_hundred_thousand_dimensions_are_counted_before_they_are_multiplied(bounded):
    shape = ",".join([str(2**63 - 1)] * 100_000)
    body = b'{"inputs":[{"name":"INPUT0","datatype":"INT64","shape":[%b],"data":[1]}]}' % shape.encode()
    answer = bounded.infer("int64", body)
    assert_refused(answer, "has 100000 dimensions, but at most 32 are supported")


def test_paths_of_unknown_models_are_not_remembered(bounded):
    before = bounded.rss()
    for number in range(600):
        path = f"/v2/models/{'x' * 60_000}{number}"
        assert bounded.ask("GET", path).status == 404
    assert bounded.rss() - before < 16 * MIB


def test_version_strings_are_not_remembered(bounded, call):
    before = bounded.rss()
    for number in range(100):
        text = f"1{'x' * MIB}{number}"
        with pytest.raises(grpc.RpcError) as caught:
            call(message("nope", "FP32", 1, b"\0\0\0\0", model_version=text).SerializeToString())
        assert len(caught.value.details()) < 1024
    assert bounded.rss() - before < 32 * MIB


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_grpc_message_is_limited_also_by_what_it_is_decompressed_to(bounded, call, compression):
    before = bounded.forget()
    bomb = message("fp32", "FP32", 2**24, bytes(2**26)).SerializeToString()
    with pytest.raises(grpc.RpcError) as caught:
        call(bomb, compression=compression)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert bounded.high_water() - before < 24 * MIB


def test_a_message_within_the_limit_may_be_compressed(bounded, call):
    payload = message("fp32", "FP32", 16, bytes(64)).SerializeToString()
    assert bytes(64) in call(payload, compression=grpc.Compression.Gzip)


def begin_body(target: Target, size: int, sent: int) -> socket.socket:
    """Return a connection on which `sent` of `size` bytes of a body have been sent."""
    connection = target.connect()
    head = f"POST /v2/models/int64/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
    connection.sendall(head.encode() + b" " * sent)
    return connection


def test_bodies_beyond_the_budget_of_all_connections_are_refused_until_others_end(bounded):
    body = document("INT64", 2, "[1," + " " * 2 * MIB + "2]")
    assert bounded.infer("int64", body).status == 200
    held = [begin_body(bounded, 3 * MIB, 2 * MIB) for _ in range(3)]
    raw = bounded.send(
        f"POST /v2/models/int64/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    )
    head, _, text = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 "), raw[:200]
    assert b"Retry-After: " in head
    assert b"as many requests as its memory allows" in text
    assert bounded.infer("fp32", SIXTEEN).status == 200  # small bodies are always served
    for connection in held:
        connection.close()
    assert bounded.infer("int64", body).status == 200


def test_refused_and_answered_bodies_leave_the_budget(bounded):
    body = document("INT64", 2, "[1," + " " * 3 * MIB + "2]")
    for _ in range(6):
        assert bounded.infer("int64", body).status == 200
        assert bounded.infer("nope", body).status == 404
        refused = begin_body(bounded, 65 * MIB, 0)
        assert b" 400 " in read_all(refused)
        refused.close()


def test_what_a_body_is_decompressed_to_counts_too(bounded):
    bomb = gzip.compress(document("INT64", 2, "[1," + " " * 12 * MIB + "2]"))
    answer = bounded.infer("int64", bomb, Content_Encoding="gzip")
    assert answer.status == 503
    assert answer.headers["Retry-After"]


def test_large_grpc_messages_count_in_the_budget_too(bounded, call):
    held = [begin_body(bounded, 3 * MIB, 2 * MIB) for _ in range(3)]
    payload = message("fp32", "FP32", 768 * 1024, bytes(3 * MIB)).SerializeToString()
    assert bounded.infer("fp32", SIXTEEN).status == 200  # the server has read what the others sent
    with pytest.raises(grpc.RpcError) as caught:
        call(payload)
    assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INVALID_ARGUMENT)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    for connection in held:
        connection.close()


@pytest.mark.parametrize(
    ("datatype", "model", "element", "count"),
    [("BYTES", "bytes", '""', 2_000_000), ("BYTES", "bytes", '"abcd"', 900_000), ("INT64", "int64", "1", 3_000_000)],
)
def test_memory_stays_within_a_few_times_the_request(bounded, datatype, model, element, count):
    body = document(datatype, count, "[" + ",".join([element] * count) + "]")
    assert len(body) < BUDGET
    before = bounded.forget()
    answer = bounded.infer(model, body)
    assert answer.status == 200
    assert json.loads(answer.body)["outputs"][0]["shape"] == [1, count]
    assert bounded.high_water() - before < 6 * len(body)


def test_strings_in_typed_contents_do_not_become_objects(bounded, call):
    made = message("bytes", "BYTES", 1_000_000)
    made.inputs[0].contents.bytes_contents.extend([b""] * 1_000_000)
    payload = made.SerializeToString()
    before = bounded.forget()
    assert service_pb2.ModelInferResponse.FromString(call(payload)).raw_output_contents[0] == bytes(4_000_000)
    assert bounded.high_water() - before < 48 * MIB


def test_large_messages_of_unusual_form_are_refused(bounded, call):
    made = message("int64", "INT64", 1)
    made.inputs[0].contents.int64_contents.append(1)
    made.inputs[0].contents.bytes_contents.extend([b""] * 1_500_000)
    with pytest.raises(grpc.RpcError) as caught:
        call(made.SerializeToString())
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "use raw_input_contents for large tensors" in caught.value.details()


def test_large_messages_of_a_stream_are_served_in_order(server):
    payloads = []
    for number in range(6):
        strings = [str(number).encode() * 8] * (60_000 if number % 2 else 2)
        raw = b"".join(struct.pack("<I", len(each)) + each for each in strings)
        made = message("bytes", "BYTES", len(strings), raw, id=str(number))
        payloads.append(made.SerializeToString())
    with grpc.insecure_channel(server[1]) as channel:
        answers = [
            service_pb2.ModelStreamInferResponse.FromString(answer).infer_response
            for answer in channel.stream_stream(STREAM)(iter(payloads))
        ]
    assert [answer.id for answer in answers] == [str(number) for number in range(6)]


@pytest.mark.parametrize("part", ["parameters", "outputs", "shape"])
def test_only_tensor_data_of_a_document_may_be_large(bounded, part):
    entry: dict[str, object] = {"name": "INPUT0", "datatype": "INT64", "shape": [1, 1], "data": [1]}
    request: dict[str, object] = {"inputs": [entry]}
    if part == "parameters":
        request["parameters"] = {f"p{number}": number for number in range(200_000)}
    elif part == "outputs":
        request["outputs"] = [{"name": f"O{number}"} for number in range(200_000)]
    else:
        entry["shape"] = [1] * 1_500_000
    before = bounded.forget()
    assert_refused(bounded.infer("int64", request), "shapes, parameters and outputs of a request exceed 2097152 bytes")
    assert bounded.high_water() - before < 32 * MIB


def test_many_classes_take_no_object_each(bounded):
    values = np.arange(200_000, dtype=np.float32).tobytes()
    request = {
        "inputs": [
            {
                "name": "INPUT0",
                "datatype": "FP32",
                "shape": [1000, 200],
                "parameters": {"binary_data_size": len(values)},
            }
        ],
        "outputs": [{"name": "OUTPUT0", "parameters": {"classification": 200_000, "binary_data": True}}],
    }
    before = bounded.forget()
    answer = bounded.infer("grid", request, values)
    assert answer.status == 200
    assert bounded.high_water() - before < 12 * len(answer.body)
