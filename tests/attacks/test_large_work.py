"""Nobody waits for somebody else's large request: it leaves the event loop, and a small one never does. A client that
does not read its answer is disconnected.
"""

from __future__ import annotations

import gzip
import json
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
from tritonclient.grpc import service_pb2

from slipway.core.tensor import CountedTensor, Tensor
from slipway.rest import generate, infer, large_answer, listener
from slipway.rest.app import build_app
from slipway.rest.connection import HttpLimits
from slipway.rpc import inference, stream
from slipway.rpc.options import GrpcOptions
from tests.kits.memory_dataplane import answer
from tests.rest.conftest import Served, serve
from tests.rest.models import dataplane
from tests.rpc.conftest import serving

MANY = 100_000
Where = Callable[..., set[str]]


@pytest.fixture
def where(monkeypatch) -> Where:
    """Return a function that watches functions by module and name, and returns the kinds of threads they run in."""
    kinds: set[str] = set()

    def watch(home: Any, name: str) -> set[str]:
        inner = getattr(home, name)

        def watched(*given: Any, **named: Any) -> Any:
            thread = threading.current_thread().name
            kinds.add("large" if thread.startswith("slipway-large") else "loop")
            return inner(*given, **named)

        monkeypatch.setattr(home, name, watched)
        return kinds

    return watch


@pytest.fixture
def served() -> Iterator[Served]:
    """Serve the tiny models over HTTP."""
    plane = dataplane()
    with serve(plane, build_app(plane)) as running:
        yield running


def numbers(count: int) -> bytes:
    """Return an infer request with numbers."""
    entry = {"name": "IN0", "datatype": "FP32", "shape": [1, count], "data": [1.5] * count}
    return json.dumps({"inputs": [entry], "outputs": [{"name": "OUT0", "parameters": {"binary_data": True}}]}).encode()


@pytest.mark.parametrize(("count", "thread"), [(16, "loop"), (MANY, "large")])
def test_json_is_decoded_where_its_size_says(served, where, count, thread):
    threads = where(infer, "decode_infer")
    assert served.ask("POST", "/v2/models/echo/infer", numbers(count)).status == 200
    assert threads == {thread}


def test_compressed_json_is_decoded_where_its_decompressed_size_says(served, where):
    threads = where(infer, "decode_infer")
    body = gzip.compress(numbers(MANY))
    assert len(body) < 64 << 10
    assert served.ask("POST", "/v2/models/echo/infer", body, Content_Encoding="gzip").status == 200
    assert threads == {"large"}


def test_a_header_does_not_keep_large_json_on_the_loop(served, where):
    threads = where(infer, "decode_infer")
    body = numbers(MANY)
    found = served.ask("POST", "/v2/models/echo/infer", body, Inference_Header_Content_Length=str(len(body)))
    assert found.status == 200
    assert threads == {"large"}


@pytest.mark.parametrize(("count", "thread"), [(16, set()), (MANY, {"large"})])
def test_an_answer_is_encoded_where_its_size_says(served, where, count, thread):
    threads = where(large_answer, "encode_large_infer")
    blob = np.ones(count, np.float32).tobytes()
    entry = {"name": "IN0", "datatype": "FP32", "shape": [1, count], "parameters": {"binary_data_size": len(blob)}}
    head = json.dumps({"inputs": [entry]}).encode()
    found = served.ask("POST", "/v2/models/echo/infer", head + blob, Inference_Header_Content_Length=str(len(head)))
    assert json.loads(found.body)["outputs"][0]["data"] == [1.0] * count
    assert threads == thread


def test_many_classes_leave_the_loop(served, where):
    threads = where(large_answer, "encode_large_infer")
    request = json.loads(numbers(MANY))
    request["outputs"] = [{"name": "OUT0", "parameters": {"classification": 2}}]
    found = served.ask("POST", "/v2/models/echo/infer", json.dumps(request).encode())
    assert json.loads(found.body)["outputs"][0]["data"] == ["1.500000:0:cat", "1.500000:1:dog"]
    assert threads == {"large"}


@pytest.mark.parametrize(("length", "thread"), [(16, "loop"), (400_000, "large")])
@pytest.mark.parametrize("route", ["generate", "generate_stream"])
def test_generate_is_decoded_and_encoded_where_its_size_says(served, where, length, thread, route):
    threads = where(generate, "decode_generate")
    found = served.ask("POST", f"/v2/models/text/{route}", json.dumps({"IN0": "x" * length}).encode())
    assert json.loads(found.body.removeprefix(b"data: "))["OUT0"] == "x" * length
    assert threads == {thread}


def test_events_stay_in_order_when_one_is_large(monkeypatch):
    plane = dataplane()

    def large_first(_: object, pending: Any) -> None:
        for text in (b"a" * 400_000, b"b", b"c" * 400_000, b"d"):
            answer(pending, Tensor.from_array("OUT0", np.array([text], object)), final=False)
        answer(pending, empty=True)

    monkeypatch.setitem(plane.models, "count", plane.models["count"]._replace(run=large_first))
    with serve(plane, build_app(plane)) as running:
        found = running.ask("POST", "/v2/models/count/generate_stream", b'{"IN0": 1}')
    events = [json.loads(event.removeprefix(b"data: "))["OUT0"] for event in found.body.split(b"\n\n") if event]
    assert [(event[0], len(event)) for event in events] == [("a", 400_000), ("b", 1), ("c", 400_000), ("d", 1)]


def strings(count: int) -> bytes:
    """Return a message with many raw strings."""
    message = service_pb2.ModelInferRequest(model_name="text")
    message.inputs.add(name="TEXT", datatype="BYTES", shape=[count])
    message.raw_input_contents.append((struct.pack("<I", 1) + b"x") * count)
    return message.SerializeToString()


@pytest.mark.parametrize(("count", "thread"), [(16, set()), (MANY, {"large"})])
def test_strings_over_grpc_are_checked_where_their_size_says(where, count, thread):
    threads = where(inference, "read_request")
    counted = where(CountedTensor, "of")
    with serving(GrpcOptions(grpc_port=0, grpc_engine="grpcio")) as server:
        client = grpc_client.InferenceServerClient(server.url)
        given = grpc_client.InferInput("TEXT", [count], "BYTES")
        given.set_data_from_numpy(np.full(count, b"x", object))
        found = client.infer("text", [given]).as_numpy("OUTPUT0")
        client.close()
    assert found.tolist() == [b"x"] * count
    assert threads | counted == thread


def test_raw_numbers_stay_on_the_loop(where):
    threads = where(inference, "read_request")
    with serving(GrpcOptions(grpc_port=0, grpc_engine="grpcio")) as server:
        client = grpc_client.InferenceServerClient(server.url)
        given = grpc_client.InferInput("INPUT0", [1, 1_000_000], "FP32")
        given.set_data_from_numpy(np.ones((1, 1_000_000), np.float32))
        assert client.infer("identity", [given]).as_numpy("OUTPUT0").sum() == 1_000_000
        client.close()
    assert threads == set()


@pytest.mark.parametrize(("count", "text"), [(MANY, b"y"), (4, b"y" * 100_000)])
def test_large_strings_are_packed_off_the_loop(where, monkeypatch, count, text):
    threads = where(inference, "prepare")
    with serving(GrpcOptions(grpc_port=0, grpc_engine="grpcio")) as server:

        def many(_: object, pending: Any) -> None:
            answer(pending, Tensor.from_array("OUTPUT0", np.full(count, text, object)))

        monkeypatch.setitem(server.plane.models, "text", server.plane.models["text"]._replace(run=many))
        client = grpc_client.InferenceServerClient(server.url)
        given = grpc_client.InferInput("TEXT", [1], "BYTES")
        given.set_data_from_numpy(np.full(1, b"x", object))
        assert client.infer("text", [given]).as_numpy("OUTPUT0").tolist() == [text] * count
        client.close()
    assert threads == {"large"}


def test_a_large_message_of_a_stream_is_read_off_the_loop(where):
    threads = where(stream, "read_request")
    found: list[Any] = []
    with serving(GrpcOptions(grpc_port=0, grpc_engine="grpcio")) as server:
        client = grpc_client.InferenceServerClient(server.url)
        done = threading.Event()

        def receive(result: Any, error: Any) -> None:
            found.append(error or result.as_numpy("OUTPUT0").size)
            done.set()

        client.start_stream(receive)
        given = grpc_client.InferInput("TEXT", [MANY], "BYTES")
        given.set_data_from_numpy(np.full(MANY, b"x", object))
        client.async_stream_infer("text", [given])
        assert done.wait(30)
        client.stop_stream()
        client.close()
    assert found == [MANY]
    assert threads == {"large"}


def test_a_client_that_does_not_read_its_answer_is_disconnected(monkeypatch):
    monkeypatch.setattr(listener, "_SWEEP_S", 0.05)
    plane = dataplane()
    count = 4_000_000
    blob = bytes(4 * count)
    entry = {"name": "IN0", "datatype": "FP32", "shape": [1, count], "parameters": {"binary_data_size": len(blob)}}
    head = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
    lines = (
        "POST /v2/models/echo/infer HTTP/1.1",
        "Host: x",
        f"Inference-Header-Content-Length: {len(head)}",
        f"Content-Length: {len(head) + len(blob)}",
    )
    request = "\r\n".join((*lines, "", "")).encode() + head + blob
    with serve(plane, build_app(plane), HttpLimits(send_s=0.3)) as running, running.connect() as connection:
        connection.sendall(request)
        received = 0
        threading.Event().wait(1.5)  # not reading is what is tested
        with suppress(ConnectionResetError):
            while part := connection.recv(1 << 20):
                received += len(part)
        assert received < len(blob)


def test_a_client_that_reads_slowly_gets_its_whole_answer(monkeypatch):
    monkeypatch.setattr(listener, "_SWEEP_S", 0.05)
    plane = dataplane()
    with serve(plane, build_app(plane), HttpLimits(send_s=1.0)) as running, running.connect() as connection:
        body = numbers(2_000_000)
        connection.sendall(
            b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            % len(body)
        )
        connection.sendall(body)
        received = bytearray()
        while part := connection.recv(256 << 10):
            received += part
            threading.Event().wait(0.02)
        assert len(received) > 8_000_000
