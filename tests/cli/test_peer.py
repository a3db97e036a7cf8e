"""What is said of peers that end a handshake, stay silent, or start late."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread, Timer

import pytest

from slipway.cli import peer
from slipway.cli.main import main
from slipway.cli.peer import await_listener, explain
from slipway.cli.tls import Address, Tls

HANDSHAKE = 0x16  # the first byte of a client that speaks TLS
WITHOUT = "refuses a client without a certificate of its own: specify --client-certificate FILE and --client-key FILE"


@contextmanager
def answering(to_tls: bytes, to_others: bytes = b"") -> Iterator[Address]:
    """Yield the address of a peer that sends these bytes and closes the connection."""

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    heard = connection.recv(4096)
                    connection.sendall(to_tls if heard[:1] == bytes([HANDSHAKE]) else to_others)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = Thread(target=accept, daemon=True)
        accepting.start()
        port = listener.getsockname()[1]
        yield Address(f"127.0.0.1:{port}", "127.0.0.1", port)
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()


def alert(number: int) -> bytes:
    """Return a record of TLS with a fatal alert (RFC 8446, 6)."""
    return bytes((21, 3, 3, 0, 2, 2, number))


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (40, WITHOUT),  # handshake_failure
        (42, WITHOUT),  # bad_certificate
        (48, WITHOUT),  # unknown_ca
        (116, WITHOUT),  # certificate_required
        (70, "ends the handshake: PROTOCOL_VERSION"),
        (80, "ends the handshake: INTERNAL_ERROR"),
        (112, "ends the handshake: UNRECOGNIZED_NAME"),
        (120, "ends the handshake: NO_APPLICATION_PROTOCOL"),
    ],
)
def test_an_alert_is_about_the_certificate_only_if_it_says_so(number, said):
    with answering(alert(number), alert(number)) as address:
        for protocol in ("grpc", "http"):
            assert explain(address, protocol, Tls(used=True)) == f"{address.text} {said}"


def test_a_refused_certificate_is_named(monkeypatch):
    monkeypatch.setattr(Tls, "configure", lambda *_: None)
    with answering(alert(48)) as address:
        found = explain(address, "http", Tls(used=True, certificate=Path("client.pem")))
    assert found == f"{address.text} refuses the certificate 'client.pem': UNKNOWN_CA"


def test_a_client_without_tls_learns_that_the_peer_wants_it_whatever_the_alert():
    with answering(alert(112), alert(10)) as address:
        assert "expects an encrypted connection: use --url https://" in explain(address, "grpc", Tls())


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize(
    ("sent", "said"), [(b"SSH-2.0-x\r\n", "speaks neither gRPC nor HTTP"), (b"", "does not answer")]
)
def test_a_peer_that_accepts_connections_is_never_said_to_be_missing(capsys, used, sent, said):
    with answering(sent, sent) as address:
        for protocol in ("grpc", "http"):
            words = ["--protocol", protocol, "--url", address.text, *(["--insecure"] if used else [])]
            assert main(["infer", "m", "--text", "a", *words]) == 1
            error = capsys.readouterr().err
            assert error.startswith(
                f"error: {address.text} accepts connections but {said}; a TLS handshake fails too: "
            )
            assert error.count("\n") == 1


def test_nothing_that_listens_is_said_to_be_missing():
    assert explain(Address("127.0.0.1:1", "127.0.0.1", 1), "grpc", Tls()) == "no server answers at 127.0.0.1:1"


def test_a_listener_that_starts_late_is_waited_for(monkeypatch):
    monkeypatch.setattr(peer, "_PAUSE_S", 0.01)
    with socket.socket() as late:
        late.bind(("127.0.0.1", 0))  # a connection is refused until it listens
        address = Address("", "127.0.0.1", late.getsockname()[1])
        starting = Timer(0.2, late.listen)
        starting.start()
        await_listener(address, 60)
        assert not starting.is_alive()


def test_waiting_ends():
    await_listener(Address("", "127.0.0.1", 1), 0.05)
