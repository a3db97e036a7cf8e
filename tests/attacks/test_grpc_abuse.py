"""Clients that abuse HTTP/2 under gRPC: floods of frames on some connections cost the calls of others nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count

import grpc
import pytest
from tritonclient.grpc import service_pb2

from benchmarks.serving import running_server
from slipway.attack import http2

CONFIG = """\
backend: "identity"
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ 16 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 16 ] } ]
"""


REQUEST = service_pb2.ModelInferRequest(model_name="m")
REQUEST.inputs.add(name="INPUT0", datatype="FP32", shape=[16])
REQUEST.raw_input_contents.append(bytes(64))
PAYLOAD = REQUEST.SerializeToString()
FLOODS = {
    "resets": http2.resets,
    "reset_requests": http2.request_resets(PAYLOAD),
    "reset_streams": http2.stream_resets,
    "pings": http2.pings,
    "settings": http2.settings,
}


@contextmanager
def flood(port: int, make: http2.Flood, connections: int = 3) -> Iterator[None]:
    """Send what `make` returns, again and again, on connections that read whatever comes."""
    stop = threading.Event()

    def attack() -> None:
        while not stop.is_set():
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(http2.opening())
                reader = threading.Thread(target=drain, args=(connection,), daemon=True)
                reader.start()
                streams = count(1, 2)
                while not stop.is_set():
                    connection.sendall(make(streams))

    def drain(connection: socket.socket) -> None:
        with suppress(OSError):
            while connection.recv(65_536):
                pass

    threads = [threading.Thread(target=attack) for _ in range(connections)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.fixture(scope="module", params=["grpcio", "native", "asyncio"])
def port(request, tmp_path_factory) -> Iterator[int]:
    """Yield the gRPC port of a server with an identity model."""
    if request.param == "native":
        pytest.importorskip("pygrpc_native", reason="the extra `fast` is not installed")
    repository = tmp_path_factory.mktemp("abuse")
    (repository / "m" / "1").mkdir(parents=True)
    (repository / "m" / "config.pbtxt").write_text(CONFIG)
    with running_server(repository, "--grpc-engine", request.param) as server:
        yield server.ports.grpc


@pytest.mark.parametrize("make", FLOODS.values(), ids=FLOODS)
def test_a_flood_of_frames_does_not_keep_other_clients_from_their_answers(port, make):
    with flood(port, make), grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        infer = channel.unary_unary(http2.INFER)
        for _ in range(40):
            answer = service_pb2.ModelInferResponse.FromString(infer(PAYLOAD, timeout=10))
            assert answer.raw_output_contents[0] == bytes(64)


def test_a_flood_of_pings_ends_its_connection(port, request):
    if request.node.callspec.params["port"] == "native":
        pytest.skip("pygrpc-native answers pings as they come")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(http2.opening() + http2.pings(count()))
        received = b""
        with suppress(ConnectionResetError):
            while part := connection.recv(65_536):
                received += part
    assert b"too_many_pings" in received


def test_more_calls_than_a_connection_may_have_open_are_all_answered(port):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        infer = channel.unary_unary(http2.INFER)
        calls = [infer.future(PAYLOAD, timeout=60) for _ in range(3000)]
        assert all(len(call.result()) > 64 for call in calls)
