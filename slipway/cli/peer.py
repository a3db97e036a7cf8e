"""Find out what listens at an address, to explain why a client could not talk to it: nothing, the other protocol, TLS
where it is not expected, or a certificate that is not trusted. Knows neither models nor client libraries."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from slipway.cli.tls import ALPN, CONNECT_S, Address, Tls

NAMES: Final = {"grpc": "gRPC", "http": "HTTP"}
# The beginning of every HTTP/2 connection (RFC 9113, 3.4) with empty settings: servers of gRPC answer with settings,
# servers of HTTP/1 with a response.
_GREETING: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_SETTINGS: Final = 4  # type of a frame, its fourth byte
_FRAME_HEAD: Final = 9
_FIRST_S: Final = 0.3


@dataclass(frozen=True, slots=True)
class Peer:
    """What listens at an address; `protocol` is "" if it is unknown, `problem` why a connection with TLS failed."""

    protocol: str = ""
    encrypted: bool = False
    problem: str = ""


def explain(address: Address, protocol: str, tls: Tls) -> str:
    """Return in one sentence why a client with these settings gets no answer, with the flag that helps; "" if nothing
    is known."""
    peer = _peer(address, protocol, tls)
    if peer is None:
        return ""
    if peer.encrypted and not tls.used:
        return f"{address.text} expects an encrypted connection: use --url https://{address.text}"
    if tls.used and not peer.encrypted:
        return f"{address.text} does not use TLS: leave out https:// and the TLS options"
    if peer.protocol not in ("", protocol):
        flag = f"add --protocol {peer.protocol}, or specify the {NAMES[protocol]} port"
        return f"{address.text} speaks {NAMES[peer.protocol]}, not {NAMES[protocol]}: {flag} with --url"
    return peer.problem


def _peer(address: Address, protocol: str, tls: Tls) -> Peer | None:
    """Return what listens at the address, None if nothing accepts a connection."""
    try:
        plain = socket.create_connection((address.host, address.port), CONNECT_S)
    except OSError:
        return None
    with plain:
        heard = _protocol(_answer(plain))
    if heard:
        return Peer(heard)
    unverified = replace(tls, verified=False).context(protocol)
    unverified.set_alpn_protocols([*ALPN["grpc"], *ALPN["http"]])
    try:
        found = _encrypted_protocol(address, unverified)
    except ssl.SSLError as error:
        return Peer(encrypted=True, problem=_refusal(address, tls, error)) if "ALERT" in (error.reason or "") else None
    except OSError:
        return None
    problem = _distrust(address, protocol, tls)
    return Peer(found, encrypted=True, problem=problem or ("" if found else _closed(address, tls)))


def _answer(connection: socket.socket) -> bytes:
    """Return the first bytes that a peer sends, by itself or to the greeting; b"" if it closes or stays silent."""
    try:
        connection.settimeout(_FIRST_S)
        with suppress(TimeoutError):
            return connection.recv(_FRAME_HEAD)  # before the greeting, which would overtake a refusal
        connection.settimeout(CONNECT_S)
        connection.sendall(_GREETING)
        return connection.recv(_FRAME_HEAD)
    except ssl.SSLError:
        raise
    except OSError:
        return b""


def _protocol(answer: bytes) -> str:
    if answer.startswith(b"HTTP/1"):
        return "http"
    return "grpc" if len(answer) > 3 and answer[3] == _SETTINGS and not answer.startswith(b"\x15") else ""


def _encrypted_protocol(address: Address, context: ssl.SSLContext) -> str:
    with (
        socket.create_connection((address.host, address.port), CONNECT_S) as plain,
        context.wrap_socket(plain, server_hostname=address.host) as connection,
    ):
        return _protocol(_answer(connection))


def _distrust(address: Address, protocol: str, tls: Tls) -> str:
    """Return why the certificate is not accepted, "" if it is."""
    if not (tls.used and tls.verified):
        return ""
    try:
        _encrypted_protocol(address, tls.context(protocol))
    except ssl.SSLCertVerificationError as error:
        advice = "--ca-certificate FILE names the authority to trust, --insecure skips the check"
        return f"the certificate of {address.text} is not trusted: {error.verify_message.rstrip('.')}; {advice}"
    except OSError:
        return ""
    return ""


def _closed(address: Address, tls: Tls) -> str:
    """Return what a peer may expect that ends an encrypted connection without a word, as grpcio does."""
    flags = "--client-certificate FILE and --client-key FILE specify one"
    reason = "" if tls.certificate else f"; it may require a certificate of the client: {flags}"
    return f"{address.text} closes the encrypted connection{reason}"


def _refusal(address: Address, tls: Tls, error: ssl.SSLError) -> str:
    if tls.certificate is None:
        flags = "--client-certificate FILE and --client-key FILE"
        return f"{address.text} refuses a client without a certificate of its own: specify {flags}"
    return f"{address.text} refuses the certificate '{tls.certificate}': {error.reason}"
