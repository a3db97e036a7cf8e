"""The life of a listener: engine choice, ports, TLS, compression, shutdown."""

from __future__ import annotations

import asyncio
import logging
import queue
import socket

import grpc
import numpy as np
import pytest
import tritonclient.grpc as grpc_client
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from slipway.errors import SlipwayError
from slipway.rpc import listener as listener_module
from slipway.rpc.listener import GrpcListener, choose_engine
from slipway.rpc.options import GrpcOptions
from tests.kits.certificates import write_certificates
from tests.kits.memory_dataplane import echo
from tests.rpc.conftest import serving
from tests.rpc.models import dataplane

SHUTTING_DOWN = "GRPC server is shutting down and has stopped accepting new requests."


def ones(columns=4):
    given = grpc_client.InferInput("INPUT0", [1, columns], "FP32")
    given.set_data_from_numpy(np.ones((1, columns), np.float32))
    return given


def silent():
    given = grpc_client.InferInput("INPUT0", [2], "FP32")
    given.set_data_from_numpy(np.ones(2, np.float32))
    return given


ASYNCIO = ("asyncio", "the fastest for small requests")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (GrpcOptions(), ASYNCIO),
        (GrpcOptions(grpc_address="192.0.2.1"), ASYNCIO),
        (GrpcOptions(grpc_use_ssl=True), ASYNCIO),
        (GrpcOptions(grpc_use_ssl_mutual=True), ASYNCIO),
        (GrpcOptions(grpc_http2_max_ping_strikes=5), ASYNCIO),
        (GrpcOptions(grpc_http2_min_recv_ping_interval_without_data=10), ASYNCIO),
        (GrpcOptions(grpc_infer_response_compression_level="low"), ("grpcio", "needed for response compression")),
        (GrpcOptions(grpc_max_connection_age=5), ("grpcio", "needed for a maximum connection age")),
        (GrpcOptions(grpc_http2_max_pings_without_data=0), ("grpcio", "needed for limits on pings")),
        (GrpcOptions(grpc_engine="grpcio"), ("grpcio", "as specified")),
        (GrpcOptions(grpc_engine="native"), ("native", "as specified")),
        (GrpcOptions(grpc_engine="asyncio"), ("asyncio", "as specified")),
    ],
)
def test_auto_takes_asyncio_unless_something_needs_grpcio(options, expected, monkeypatch):
    monkeypatch.setattr(listener_module, "find_spec", lambda _: True)
    assert choose_engine(options) == expected


@pytest.mark.parametrize(
    "options",
    [
        GrpcOptions(grpc_engine="asyncio", grpc_infer_response_compression_level="low"),
        GrpcOptions(grpc_engine="asyncio", grpc_max_connection_age=5),
        GrpcOptions(grpc_engine="asyncio", grpc_http2_max_pings_without_data=0),
        GrpcOptions(grpc_engine="native", grpc_http2_max_ping_strikes=5),
        GrpcOptions(grpc_engine="native", grpc_use_ssl_mutual=True),
    ],
)
def test_an_engine_that_lacks_something_is_refused(options, monkeypatch):
    monkeypatch.setattr(listener_module, "find_spec", lambda _: True)
    with pytest.raises(SlipwayError, match=f"--grpc-engine {options.grpc_engine} does not support"):
        choose_engine(options)


@pytest.mark.parametrize("installed", [True, False])
def test_native_that_cannot_be_had_is_refused_with_what_to_do(installed, monkeypatch):
    monkeypatch.setattr(listener_module, "find_spec", lambda _: installed or None)
    with pytest.raises(SlipwayError, match="--grpc-engine native"):
        choose_engine(GrpcOptions(grpc_engine="native", grpc_use_ssl=installed))


def test_the_choice_and_its_reason_are_logged_once(engine, caplog):
    caplog.set_level(logging.INFO, "slipway.rpc")
    with serving(GrpcOptions(grpc_port=0, grpc_engine=engine)) as server:
        expected = f"Started GRPCInferenceService at 127.0.0.1:{server.port} ({engine}: as specified)"
        assert [record.getMessage() for record in caplog.records] == [expected]


def test_a_port_in_use_is_an_error_that_names_it(engine):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listener = GrpcListener(dataplane(), GrpcOptions(grpc_port=port, grpc_engine=engine))
        with pytest.raises(SlipwayError, match=f"cannot bind to 127.0.0.1:{port}"):
            asyncio.run(listener.start())


def test_two_listeners_share_a_port_when_reuse_is_asked_for(engine):
    first = GrpcOptions(grpc_port=0, grpc_engine=engine, reuse_grpc_port=True)
    with serving(first) as server:
        second = GrpcOptions(grpc_port=server.port, grpc_engine=engine, reuse_grpc_port=True)
        with serving(second) as other:
            assert other.port == server.port


def test_the_port_is_free_again_after_stop(engine):
    with serving(GrpcOptions(grpc_port=0, grpc_engine=engine)) as server:
        port = server.port
    with serving(GrpcOptions(grpc_port=port, grpc_engine=engine)) as server:
        assert server.port == port


def test_stop_answers_accepted_requests_and_refuses_new_ones(engine):
    answers = queue.SimpleQueue()
    with (
        serving(GrpcOptions(grpc_port=0, grpc_engine=engine)) as server,
        grpc_client.InferenceServerClient(server.url) as client,
    ):
        client.async_infer("silent", [silent()], callback=lambda result, error: answers.put(error or result))
        server.wait_until(lambda: server.plane.held)
        stopping = asyncio.run_coroutine_threadsafe(server.listener.stop(20), server.loop)
        server.wait_until(lambda: server.listener._in_flight.stopping)
        with pytest.raises(InferenceServerException) as caught:
            client.infer("identity", [ones()])
        assert (caught.value.status(), caught.value.message()) == ("StatusCode.UNAVAILABLE", SHUTTING_DOWN)
        server.loop.call_soon_threadsafe(echo, server.plane, server.plane.held[0])
        stopping.result(20)
        assert type(answers.get(timeout=20)) is grpc_client.InferResult


def test_stop_ends_an_idle_stream_and_refuses_its_next_request(engine):
    requests = queue.SimpleQueue()
    with (
        serving(GrpcOptions(grpc_port=0, grpc_engine=engine)) as server,
        grpc.insecure_channel(server.url) as channel,
    ):
        call = channel.stream_stream(
            "/inference.GRPCInferenceService/ModelStreamInfer",
            request_serializer=service_pb2.ModelInferRequest.SerializeToString,
            response_deserializer=service_pb2.ModelStreamInferResponse.FromString,
        )(iter(requests.get, None))
        held = service_pb2.ModelInferRequest(model_name="silent", id="held")
        held.inputs.add(name="INPUT0", datatype="FP32", shape=[2])
        held.raw_input_contents.append(bytes(8))
        requests.put(held)
        server.wait_until(lambda: server.plane.held)
        stopping = asyncio.run_coroutine_threadsafe(server.listener.stop(20), server.loop)
        server.wait_until(lambda: server.listener._in_flight.stopping)
        requests.put(service_pb2.ModelInferRequest(model_name="identity", id="new"))
        server.wait_until(lambda: len(next(iter(_streams(server)))._ordered) == 2)
        server.loop.call_soon_threadsafe(echo, server.plane, server.plane.held[0])
        answers = list(call)
        stopping.result(20)
        requests.put(None)
    assert [(answer.infer_response.id, answer.error_message) for answer in answers] == [
        ("held", ""),
        ("new", SHUTTING_DOWN),
    ]


def _streams(server):
    engine = server.listener._engine
    return getattr(engine, "_streams_engine", engine)._streams


def test_stop_gives_up_on_what_is_not_answered_within_the_grace(engine):
    with (
        serving(GrpcOptions(grpc_port=0, grpc_engine=engine)) as server,
        grpc_client.InferenceServerClient(server.url) as client,
    ):
        client.async_infer("silent", [silent()], callback=lambda **_: None, request_id="h")
        server.wait_until(lambda: server.plane.held)
        server.run(server.listener.stop(0.05))
        server.wait_until(lambda: server.plane.cancelled == ["h"])


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A certificate authority, a server certificate for localhost and a client certificate."""
    return write_certificates(tmp_path_factory.mktemp("tls"))


def tls_options(certificates, **more):
    return GrpcOptions(
        grpc_port=0,
        grpc_use_ssl=True,
        grpc_server_cert=str(certificates / "server.pem"),
        grpc_server_key=str(certificates / "server.key"),
        grpc_root_cert=str(certificates / "ca.pem"),
        **more,
    )


def test_tls_serves_a_client_that_trusts_the_authority(certificates):
    with (
        serving(tls_options(certificates)) as server,
        grpc_client.InferenceServerClient(
            f"localhost:{server.port}", ssl=True, root_certificates=str(certificates / "ca.pem")
        ) as client,
    ):
        assert client.infer("identity", [ones()]).as_numpy("OUTPUT0").shape == (1, 4)


def test_mutual_tls_refuses_a_client_without_certificate(certificates):
    with serving(tls_options(certificates, grpc_use_ssl_mutual=True)) as server:
        address, root = f"localhost:{server.port}", str(certificates / "ca.pem")
        with grpc_client.InferenceServerClient(address, ssl=True, root_certificates=root) as client:
            assert not _is_live(client)
        with grpc_client.InferenceServerClient(
            address,
            ssl=True,
            root_certificates=root,
            private_key=str(certificates / "client.key"),
            certificate_chain=str(certificates / "client.pem"),
        ) as client:
            assert _is_live(client)


def _is_live(client):
    try:
        return client.is_server_live(client_timeout=2)
    except InferenceServerException:
        return False


def test_a_missing_certificate_is_an_error_without_its_path(tmp_path):
    options = GrpcOptions(grpc_port=0, grpc_use_ssl=True, grpc_server_key=str(tmp_path / "nope.key"))
    with pytest.raises(SlipwayError, match="cannot read its key file: No such file") as caught:
        asyncio.run(GrpcListener(dataplane(), options).start())
    assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize("level", ["none", "low", "high"])
def test_responses_are_compressed_when_asked_for(level):
    options = GrpcOptions(grpc_port=0, grpc_engine="grpcio", grpc_infer_response_compression_level=level)
    request = service_pb2.ModelInferRequest(model_name="identity")
    request.inputs.add(name="INPUT0", datatype="FP32", shape=[1, 50_000])
    request.raw_input_contents.append(bytes(200_000))
    with serving(options) as server, _Proxy(server.port) as proxy, grpc.insecure_channel(proxy.url) as channel:
        channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(request.SerializeToString(), timeout=20)
    assert (proxy.from_server < 100_000) == (level != "none")


class _Proxy:
    """Counts the bytes that a server sends."""

    def __init__(self, port):
        self.port = port
        self.from_server = 0

    def __enter__(self):
        import threading

        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"127.0.0.1:{self.listening.getsockname()[1]}"
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()
        return self

    def __exit__(self, *_):
        self.listening.close()
        for thread in self.threads:
            thread.join()

    def _accept(self):
        import threading

        client, _ = self.listening.accept()
        server = socket.create_connection(("127.0.0.1", self.port))
        for source, target, counted in ((client, server, False), (server, client, True)):
            thread = threading.Thread(target=self._carry, args=(source, target, counted))
            self.threads.append(thread)
            thread.start()

    def _carry(self, source, target, counted):
        with source:
            try:
                while data := source.recv(65536):
                    self.from_server += len(data) * counted
                    target.sendall(data)
                target.shutdown(socket.SHUT_RDWR)
            except OSError:
                return
