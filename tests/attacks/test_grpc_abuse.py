"""Clients that abuse HTTP/2 under gRPC: floods of frames on some connections cost the calls of others nothing."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count

import grpc
import pytest
from tritonclient.grpc import service_pb2

from benchmarks.serving import running_server

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING = 0, 1, 3, 4, 6
END_STREAM, END_HEADERS = 1, 4
METHOD = "/inference.GRPCInferenceService/ModelInfer"
CONFIG = """\
backend: "identity"
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ 16 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 16 ] } ]
"""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return an HTTP/2 frame (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """Return a header field without indexing (RFC 7541, section 6.2.2)."""
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


def head(method: str) -> bytes:
    """Return the header block of a call."""
    return (
        b"\x83\x86"  # :method POST, :scheme http
        + literal(b":path", method.encode())
        + literal(b":authority", b"x")
        + literal(b"content-type", b"application/grpc")
        + literal(b"te", b"trailers")
    )


HEAD = head(METHOD)
STREAM_HEAD = head("/inference.GRPCInferenceService/ModelStreamInfer")
REQUEST = service_pb2.ModelInferRequest(model_name="m")
REQUEST.inputs.add(name="INPUT0", datatype="FP32", shape=[16])
REQUEST.raw_input_contents.append(bytes(64))
PAYLOAD = REQUEST.SerializeToString()
CANCEL = struct.pack(">I", 8)


def resets(streams: Iterator[int]) -> bytes:
    """Return calls that are reset before their message."""
    return b"".join(
        frame(HEADERS, END_HEADERS, stream, HEAD) + frame(RST_STREAM, 0, stream, CANCEL)
        for _, stream in zip(range(200), streams, strict=False)
    )


def reset_requests(streams: Iterator[int]) -> bytes:
    """Return complete requests that are reset at once."""
    message = b"\0" + struct.pack(">I", len(PAYLOAD)) + PAYLOAD
    return b"".join(
        frame(HEADERS, END_HEADERS, stream, HEAD)
        + frame(DATA, END_STREAM, stream, message)
        + frame(RST_STREAM, 0, stream, CANCEL)
        for _, stream in zip(range(200), streams, strict=False)
    )


def reset_streams(streams: Iterator[int]) -> bytes:
    """Return bidirectional streams that are reset at once."""
    return b"".join(
        frame(HEADERS, END_HEADERS, stream, STREAM_HEAD) + frame(RST_STREAM, 0, stream, CANCEL)
        for _, stream in zip(range(200), streams, strict=False)
    )


def pings(_: Iterator[int]) -> bytes:
    """Return pings that want an answer."""
    return frame(PING, 0, 0, bytes(8)) * 500


def settings(_: Iterator[int]) -> bytes:
    """Return settings that want an acknowledgement."""
    return frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65_535)) * 500


@contextmanager
def flood(port: int, make: Callable[[Iterator[int]], bytes], connections: int = 3) -> Iterator[None]:
    """Send what `make` returns, again and again, on connections that read whatever comes."""
    stop = threading.Event()

    def attack() -> None:
        while not stop.is_set():
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(PREFACE + frame(SETTINGS, 0, 0))
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


@pytest.fixture(scope="module", params=["grpcio", "native"])
def port(request, tmp_path_factory) -> Iterator[int]:
    """Yield the gRPC port of a server with an identity model."""
    if request.param == "native":
        pytest.importorskip("pygrpc_native", reason="the extra `fast` is not installed")
    repository = tmp_path_factory.mktemp("abuse")
    (repository / "m" / "1").mkdir(parents=True)
    (repository / "m" / "config.pbtxt").write_text(CONFIG)
    with running_server(repository, "--grpc-engine", request.param) as server:
        yield server.ports.grpc


@pytest.mark.parametrize("make", [resets, reset_requests, reset_streams, pings, settings])
def test_a_flood_of_frames_does_not_keep_other_clients_from_their_answers(port, make):
    with flood(port, make), grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        infer = channel.unary_unary(METHOD)
        for _ in range(40):
            answer = service_pb2.ModelInferResponse.FromString(infer(PAYLOAD, timeout=10))
            assert answer.raw_output_contents[0] == bytes(64)


def test_a_flood_of_pings_ends_its_connection(port, request):
    if request.node.callspec.params["port"] == "native":
        pytest.skip("pygrpc-native answers pings as they come")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(PREFACE + frame(SETTINGS, 0, 0) + pings(count()))
        received = b""
        with suppress(ConnectionResetError):
            while part := connection.recv(65_536):
                received += part
    assert b"too_many_pings" in received


def test_more_calls_than_a_connection_may_have_open_are_all_answered(port):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        infer = channel.unary_unary(METHOD)
        calls = [infer.future(PAYLOAD, timeout=60) for _ in range(3000)]
        assert all(len(call.result()) > 64 for call in calls)
