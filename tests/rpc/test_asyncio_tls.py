"""TLS of the asyncio engine: client certificates, renewed files, and clients that do not finish what they begin."""

from __future__ import annotations

import shutil
import socket
import ssl
from contextlib import suppress

import grpc
import pytest
import tritonclient.grpc as grpc_client

from slipway.rpc import asyncio_engine
from slipway.rpc.options import GrpcOptions
from tests.kits.certificates import write_certificates
from tests.rpc.conftest import serving


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_certificates(tmp_path_factory.mktemp("tls"))


def options(folder, **more):
    return GrpcOptions(
        grpc_port=0,
        grpc_engine="asyncio",
        grpc_use_ssl=True,
        grpc_server_cert=str(folder / "server.pem"),
        grpc_server_key=str(folder / "server.key"),
        grpc_root_cert=str(folder / "ca.pem"),
        **more,
    )


def is_live(port, folder, **own):
    root = str(folder / "ca.pem")
    with grpc_client.InferenceServerClient(f"localhost:{port}", ssl=True, root_certificates=root, **own) as client:
        return client.is_server_live(client_timeout=10)


def greeting(port, folder, *protocols):
    """Return what the server sends first to a client that offers `protocols`, and the certificate that it shows."""
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    context.set_alpn_protocols(list(protocols))
    with (
        socket.create_connection(("localhost", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        certificate = connection.getpeercert(binary_form=True)
        with suppress(ConnectionResetError, ssl.SSLError):
            return connection.recv(100), certificate
        return b"", certificate


def test_a_client_that_trusts_the_authority_is_served(made):
    with serving(options(made)) as server:
        assert is_live(server.port, made)


def test_a_client_without_a_certificate_is_refused_if_it_needs_one(made):
    own = {"private_key": str(made / "client.key"), "certificate_chain": str(made / "client.pem")}
    with serving(options(made, grpc_use_ssl_mutual=True)) as server:
        with pytest.raises(grpc_client.InferenceServerException):
            is_live(server.port, made)
        assert is_live(server.port, made, **own)


def test_a_client_of_another_protocol_is_not_served(made):
    with serving(options(made)) as server:
        assert greeting(server.port, made, "h2")[0].startswith(b"\0\0\x12\4")  # settings
        assert greeting(server.port, made, "http/1.1")[0] == b""
        assert greeting(server.port, made)[0] == b""


def test_renewed_files_are_used_for_new_connections(made, tmp_path):
    folder = tmp_path / "renewed"
    shutil.copytree(made, folder)
    with serving(options(folder)) as server:
        before = greeting(server.port, made, "h2")[1]
        channel = grpc.secure_channel(
            f"localhost:{server.port}", grpc.ssl_channel_credentials((made / "ca.pem").read_bytes())
        )
        with channel:
            grpc.channel_ready_future(channel).result(10)
            for ending in ("pem", "key"):
                shutil.copy(made / f"client.{ending}", folder / f"new.{ending}")
                (folder / f"new.{ending}").replace(folder / f"server.{ending}")
            after = greeting(server.port, made, "h2")[1]
            assert before != after == ssl.PEM_cert_to_DER_cert((made / "client.pem").read_text())
            live = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
            assert live(b"", timeout=10) == b"\x08\x01"  # the open connection goes on


def test_a_handshake_that_is_not_finished_ends(made, monkeypatch):
    monkeypatch.setattr(asyncio_engine, "_HANDSHAKE_S", 0.1)
    with serving(options(made)) as server:
        for said in (b"", b"\x16\x03\x01"):
            with socket.create_connection(("127.0.0.1", server.port), timeout=30) as silent:
                silent.sendall(said)
                with suppress(ConnectionResetError):
                    assert silent.recv(1000) == b""
        assert is_live(server.port, made)


def test_plain_text_is_refused_and_others_are_served(made):
    with serving(options(made)) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as plain:
            plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            with suppress(ConnectionResetError):
                assert not plain.recv(1000).startswith(b"\0\0")
        assert is_live(server.port, made)


def test_a_missing_certificate_is_an_error_without_its_path(tmp_path):
    with (
        pytest.raises(
            Exception, match=r"^failed to start the gRPC service: cannot read its key file: No such file"
        ) as bad,
        serving(options(tmp_path)),
    ):
        pass
    assert str(tmp_path) not in str(bad.value)
