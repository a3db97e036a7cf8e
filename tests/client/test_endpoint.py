"""Addresses of servers, headers and certificates: what is accepted, and what is said about the rest."""

from __future__ import annotations

import pytest

from slipway.client.endpoint import ClientCertificates, Endpoint, ServerUrl, with_headers
from slipway.errors import SlipwayError


@pytest.mark.parametrize(
    ("url", "protocol", "encrypted", "endpoint"),
    [
        ("localhost:8001", "grpc", False, Endpoint("localhost", 8001)),
        ("localhost", "grpc", False, Endpoint("localhost", 8001)),
        ("grpc://h:1", "grpc", False, Endpoint("h", 1)),
        ("grpcs://h", "grpc", True, Endpoint("h", 443)),
        ("http://h:8000/", "http", False, Endpoint("h", 8000)),
        ("http://h/triton/", "http", False, Endpoint("h", 80, "/triton")),
        ("HTTPS://[::1]:8443", "http", True, Endpoint("::1", 8443)),
    ],
)
def test_an_address_has_a_protocol_a_host_and_a_port(url, protocol, encrypted, endpoint):
    assert ServerUrl.of(url) == ServerUrl(protocol, encrypted, endpoint)


def test_an_address_of_ip_version_6_is_shown_in_brackets():
    assert str(ServerUrl.of("http://[::1]:8000/a").endpoint) == "[::1]:8000/a"


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("", "is not the address of a server"),
        (None, "is not the address of a server"),
        ("htp://h", "unknown scheme; did you mean 'http'"),
        ("http://h:port", "is not the address of a server: Port could not be cast"),
        ("h:70000", "Port out of range"),
        ("http://h:8000?x=1", "expected HOST:PORT"),
        ("http://user:secret@h", "send credentials with headers= or api_key="),
        ("localhost:8001/path", "gRPC has no path"),
        ("http://h\r\nX: y", "is not the address of a server"),
        ("http://h x:1", "expected HOST:PORT"),
        ("http://:8000", "expected HOST:PORT"),
    ],
)
def test_what_is_not_an_address_is_refused(url, text):
    with pytest.raises(SlipwayError) as caught:
        ServerUrl.of(url)
    assert text in caught.value.message


def test_an_api_key_is_a_bearer_token():
    assert with_headers(Endpoint("h", 1), {"X-A": "b"}, "key").headers == (
        ("X-A", "b"),
        ("Authorization", "Bearer key"),
    )


@pytest.mark.parametrize("headers", [{"": "x"}, {"a b": "x"}, {"a:": "x"}, {"a": "x\r\ny: z"}, {"a": 1}, {"a": "ä"}])
def test_a_header_that_would_change_the_request_is_refused(headers):
    with pytest.raises(SlipwayError, match="header"):
        with_headers(Endpoint("h", 1), headers, "")


def test_certificates_that_cannot_be_used_are_named(tmp_path):
    (tmp_path / "not.pem").write_text("text")
    with pytest.raises(SlipwayError, match="certificates cannot be used"):
        ClientCertificates(tmp_path / "not.pem").context()
    with pytest.raises(SlipwayError, match=r"absent\.pem' cannot be read: No such file"):
        ClientCertificates(tmp_path / "absent.pem").grpc_credentials()
    with pytest.raises(SlipwayError, match="client_key needs client_certificate"):
        ClientCertificates(key=tmp_path / "not.pem").context()
    with pytest.raises(SlipwayError, match="gRPC cannot skip the verification"):
        ClientCertificates(verify=False).grpc_credentials()
