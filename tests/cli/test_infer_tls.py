"""`slipway infer` over encrypted connections, and against ports that do not speak what it expects."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.serving import running_server
from slipway.cli.main import main
from tests.kits.certificates import encrypting_proxy, write_certificates
from tests.kits.repositories import add_identity

ANSWER = "a\n  OUTPUT0 [1] a\n"
UNTRUSTED = (
    "is not trusted: unable to get local issuer certificate; --ca-certificate FILE names the authority to trust, "
    "--insecure skips the check"
)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return write_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    repository = tmp_path_factory.mktemp("models")
    add_identity(repository, "echo", datatype="STRING", dims="[ 1 ]")
    return repository


@pytest.fixture(scope="module")
def plain(repository):
    with running_server(repository) as server:
        yield server


@pytest.fixture(scope="module", params=["grpc", "http"])
def secure(request, repository, certificates, plain):
    """The protocol and the address of a server that encrypts."""
    if request.param == "http":
        with encrypting_proxy(plain.ports.http, certificates) as port:
            yield "http", f"localhost:{port}"
        return
    with running_server(repository, "--grpc-use-ssl=true", *files(certificates)) as server:
        yield "grpc", f"localhost:{server.ports.grpc}"


@pytest.fixture(scope="module", params=["grpc", "http"])
def mutual(request, repository, certificates, plain):
    """The same, of a server that also requires a client certificate."""
    if request.param == "http":
        with encrypting_proxy(plain.ports.http, certificates, mutual=True) as port:
            yield "http", f"localhost:{port}"
        return
    root = f"--grpc-root-cert={certificates / 'ca.pem'}"
    with running_server(repository, "--grpc-use-ssl-mutual=true", root, *files(certificates)) as server:
        yield "grpc", f"localhost:{server.ports.grpc}"


def files(certificates):
    return f"--grpc-server-cert={certificates / 'server.pem'}", f"--grpc-server-key={certificates / 'server.key'}"


def infer(capfd, protocol, *words):
    """Return the exit code and what was printed, by libraries too."""
    code = main(["infer", "echo", "--text", "a", "--protocol", protocol, *map(str, words)])
    printed = capfd.readouterr()
    return code, printed.out + printed.err


def infer_alone(protocol, *words):
    """Return the same of a process of its own, in which nothing has imported grpc before."""
    command = [sys.executable, "-m", "slipway", "infer", "echo", "--text", "a", "--protocol", protocol]
    done = subprocess.run([*command, *map(str, words)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def names(certificates):
    return "--client-certificate", certificates / "client.pem", "--client-key", certificates / "client.key"


def test_https_with_the_authority_is_answered(capfd, secure, certificates):
    protocol, address = secure
    for flag in ("--ca-certificate", "--cacert", "--root-certificates"):
        words = ("--url", f"https://{address}", flag, certificates / "ca.pem")
        assert infer(capfd, protocol, *words) == (0, ANSWER)


def test_any_tls_option_means_tls(capfd, secure, certificates):
    protocol, address = secure
    assert infer(capfd, protocol, "--url", address, "--ca-certificate", certificates / "ca.pem") == (0, ANSWER)
    assert infer(capfd, protocol, "--url", address, "--insecure") == (0, ANSWER)
    assert infer(capfd, protocol, "--url", address, "-k") == (0, ANSWER)


def test_insecure_accepts_a_certificate_for_another_name(capfd, secure):
    protocol, address = secure
    words = ("--url", address.replace("localhost", "127.0.0.1"), "--insecure")
    assert infer(capfd, protocol, *words) == (0, ANSWER)


def test_a_certificate_that_is_not_trusted_is_one_line_with_the_reason_and_the_flags(secure):
    protocol, address = secure
    expected = f"error: the certificate of {address} {UNTRUSTED}\n"
    assert infer_alone(protocol, "--url", f"https://{address}") == (1, expected)
    assert infer_alone(protocol, "--url", address, "--ssl") == (1, expected)


def test_a_certificate_for_another_name_is_refused(capfd, secure, certificates):
    protocol, address = secure
    url = address.replace("localhost", "127.0.0.1")
    code, printed = infer(capfd, protocol, "--url", url, "--ca-certificate", certificates / "ca.pem")
    assert code == 1
    assert "certificate is not valid for '127.0.0.1'" in printed
    assert printed.count("\n") == 1


def test_tls_that_is_missing_on_one_side_is_named(capfd, secure, plain):
    protocol, address = secure
    expected = f"error: {address} expects an encrypted connection: use --url https://{address}\n"
    assert infer(capfd, protocol, "--url", address) == (1, expected)
    address = getattr(plain, protocol)
    expected = f"error: {address} does not use TLS: leave out https:// and the TLS options\n"
    assert infer_alone(protocol, "--url", f"https://{address}") == (1, expected)


def test_a_client_certificate_is_presented(capfd, mutual, certificates):
    protocol, address = mutual
    trusting = ("--url", address, "--ca-certificate", certificates / "ca.pem")
    assert infer(capfd, protocol, *trusting, *names(certificates)) == (0, ANSWER)
    assert infer(capfd, protocol, "--url", address, "--insecure", *names(certificates)) == (0, ANSWER)
    both = certificates / "both.pem"
    both.write_bytes((certificates / "client.pem").read_bytes() + (certificates / "client.key").read_bytes())
    assert infer(capfd, protocol, *trusting, "--cert", both) == (0, ANSWER)


def test_a_client_certificate_that_is_missing_is_named(capfd, mutual, certificates):
    protocol, address = mutual
    code, printed = infer(capfd, protocol, "--url", address, "--ca-certificate", certificates / "ca.pem")
    assert code == 1
    assert "certificate" in printed
    assert "--client-certificate FILE and --client-key FILE" in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--ca-certificate", "nowhere.pem"), "--ca-certificate: 'nowhere.pem' is not a file"),
        (("--ca-certificate", "ca.key"), "--ca-certificate: 'ca.key' does not contain certificates in PEM"),
        (("--client-key", "client.key"), "--client-key needs the --client-certificate that it belongs to"),
        (
            ("--client-certificate", "client.pem", "--client-key", "ca.key"),
            "--client-certificate: 'client.pem' with --client-key 'ca.key' cannot be used: KEY_VALUES_MISMATCH",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named(capfd, certificates, monkeypatch, words, message):
    monkeypatch.chdir(certificates)
    for protocol in ("grpc", "http"):
        assert infer(capfd, protocol, *words) == (1, f"error: {message}\n")


@pytest.mark.parametrize(("protocol", "other"), [("grpc", "http"), ("http", "grpc")])
def test_the_port_of_the_other_protocol_is_recognised(capfd, plain, protocol, other):
    address, called = getattr(plain, other), {"grpc": "gRPC", "http": "HTTP"}
    expected = (
        f"error: {address} speaks {called[other]}, not {called[protocol]}: add --protocol {other}, or specify the "
        f"{called[protocol]} port with --url\n"
    )
    assert infer(capfd, protocol, "--url", address) == (1, expected)


def test_an_encrypted_port_of_the_other_protocol_is_recognised(secure):
    protocol, address = secure
    other = {"grpc": "http", "http": "grpc"}[protocol]
    code, printed = infer_alone(other, "--url", f"https://{address}")
    assert code == 1
    assert f"add --protocol {protocol}" in printed
    assert printed.count("\n") == 1


def test_the_port_of_the_metrics_is_not_an_inference_server(capfd, plain):
    expected = (
        f"error: an HTTP server that is not an inference server answers at {plain.metrics}: specify the HTTP port with "
        "--url\n"
    )
    assert infer(capfd, "http", "--url", plain.metrics) == (1, expected)


@pytest.mark.parametrize("url", ["localhost:http", "localhost:99999"])
def test_a_url_that_is_not_an_address_is_one_line(capfd, url):
    code, printed = infer(capfd, "grpc", "--url", url)
    assert code == 1
    assert printed.startswith(f"error: --url '{url}' is not an address")
