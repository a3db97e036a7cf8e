"""HTTP over TLS: certificates of both sides, renewed without a restart, and connections that end well."""

from __future__ import annotations

import http.client
import shutil
import socket
import ssl

import pytest

from slipway.certificates import CertificateFiles, Certificates
from slipway.rest.app import build_app
from slipway.rest.connection import HttpLimits
from tests.kits.certificates import write_certificates
from tests.rest.conftest import serve
from tests.rest.models import dataplane


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_certificates(tmp_path_factory.mktemp("made"))


@pytest.fixture
def folder(made, tmp_path):
    """The files of a server, which a test may replace."""
    for name in ("server.pem", "server.key", "ca.pem"):
        shutil.copy(made / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def encrypted(folder):
    with served_with(folder) as running:
        yield running


def served_with(folder, *, mutual=False, limits=None):
    root = folder / "ca.pem" if mutual else None
    certificates = Certificates(CertificateFiles(folder / "server.pem", folder / "server.key", root), "HTTP")
    plane = dataplane()
    return serve(plane, build_app(plane), limits, certificates=certificates)


def context(made, client=None):
    found = ssl.create_default_context(cafile=made / "ca.pem")
    if client is not None:
        found.load_cert_chain(made / f"{client}.pem", made / f"{client}.key")
    return found


def connect(running, tls, name="localhost"):
    return tls.wrap_socket(socket.create_connection(("127.0.0.1", running.port), timeout=30), server_hostname=name)


def ask(running, tls, path="/v2/health/live", body=None):
    connection = http.client.HTTPSConnection("localhost", running.port, timeout=30, context=tls)
    try:
        connection.request("GET" if body is None else "POST", path, body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_requests_are_answered_over_tls(encrypted, made):
    assert ask(encrypted, context(made)) == (200, b"")
    with connect(encrypted, context(made)) as connection:
        assert connection.version() == "TLSv1.3"
        assert connection.selected_alpn_protocol() is None


def test_a_request_that_is_not_encrypted_gets_no_answer(encrypted):
    assert encrypted.send(b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n") == b""


def test_a_client_without_a_certificate_is_refused(folder, made):
    with served_with(folder, mutual=True) as running:
        assert ask(running, context(made, "client")) == (200, b"")
        with pytest.raises(OSError):
            ask(running, context(made))


def test_a_new_certificate_is_used_for_new_connections(encrypted, folder, made):
    other = context(made)
    with connect(encrypted, other) as old:
        first = old.getpeercert(binary_form=True)
        shutil.copy(made / "client.pem", folder / "server.pem")  # half of the pair
        with connect(encrypted, other) as between:
            assert between.getpeercert(binary_form=True) == first
        shutil.copy(made / "client.key", folder / "server.key")
        with connect(encrypted, other) as new:
            assert new.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert((made / "client.pem").read_text())
        old.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert old.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_new_authorities_are_used_too(folder, made, tmp_path_factory):
    others = write_certificates(tmp_path_factory.mktemp("others"))
    with served_with(folder, mutual=True) as running:
        assert ask(running, context(made, "client")) == (200, b"")
        stranger = context(made)
        stranger.load_cert_chain(others / "client.pem", others / "client.key")
        with pytest.raises(OSError):
            ask(running, stranger)
        shutil.copy(others / "ca.pem", folder / "ca.pem")
        assert ask(running, stranger) == (200, b"")
        with pytest.raises(OSError):
            ask(running, context(made, "client"))


def test_a_client_that_names_no_server_gets_the_new_certificate_too(encrypted, folder, made):
    for ending in ("pem", "key"):
        shutil.copy(made / f"client.{ending}", folder / f"server.{ending}")
    silent = context(made)
    silent.check_hostname = False
    with connect(encrypted, silent, None) as connection:
        found = connection.getpeercert(binary_form=True)
    assert found == ssl.PEM_cert_to_DER_cert((made / "client.pem").read_text())


def test_a_refusal_arrives_and_large_answers_are_whole(folder, made):
    with served_with(folder, limits=HttpLimits(body=1 << 20, linger_s=0.2)) as running:
        with connect(running, context(made)) as connection:
            connection.sendall(b"nonsense\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")
        values = ",".join(["1"] * 100_000)
        body = f'{{"inputs":[{{"name":"IN0","shape":[1,100000],"datatype":"FP32","data":[{values}]}}]}}'.encode()
        status, answer = ask(running, context(made), "/v2/models/echo/infer", body)
        assert (status, answer.count(b"1.0")) == (200, 100_000)


def test_a_client_that_ends_a_stream_is_noticed(encrypted, made):
    with connect(encrypted, context(made)) as connection:
        head = b"POST /v2/models/never/generate_stream HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
        connection.sendall(head + b'{"IN0": 1}')
        while not encrypted.plane.held:
            pass
    while not encrypted.plane.cancelled:
        pass
    assert len(encrypted.plane.cancelled) == 1
