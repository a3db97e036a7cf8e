"""Find out what listens at an address, to explain why a client could not talk to it: nothing, the other protocol, TLS
where it is not expected, or a certificate that is not trusted; or wait until something does. Knows neither models nor
client libraries."""

from __future__ import annotations

import re
import socket
import ssl
import time
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
_PAUSE_S: Final = 0.1
_ALERT: Final = re.compile("(?:SSLV3|SSL/TLS|TLSV1|TLSV13)_(?:ALERT_)?(.+)")  # OpenSSL's reasons
_IN_TEXT: Final = re.compile(r"\] (.+) \(_ssl")
_ABOUT_CERTIFICATES: Final = frozenset(  # alerts (RFC 8446, 6.2, and RFC 5246, 7.2.2) after the client's certificate
    {
        "ACCESS_DENIED",
        "BAD_CERTIFICATE",
        "CERTIFICATE_EXPIRED",
        "CERTIFICATE_REQUIRED",
        "CERTIFICATE_REVOKED",
        "CERTIFICATE_UNKNOWN",
        "HANDSHAKE_FAILURE",  # what TLS 1.2 has instead of CERTIFICATE_REQUIRED
        "NO_CERTIFICATE",
        "UNKNOWN_CA",
        "UNSUPPORTED_CERTIFICATE",
    }
)


@dataclass(frozen=True, slots=True)
class Peer:
    """What listens at an address; `protocol` is "" if it is unknown, `problem` why a connection failed."""

    protocol: str = ""
    encrypted: bool = False
    problem: str = ""


def explain(address: Address, protocol: str, tls: Tls, *, flag: str = "--url") -> str:
    """Return in one sentence why a client with these settings gets no answer, with the option that helps, where `flag`
    sets the address; "" if the peer gives no reason why it should not."""
    peer = _peer(address, protocol, tls)
    if peer is None:
        return f"no server answers at {address.text}"
    if peer.encrypted and not tls.used:
        return f"{address.text} expects an encrypted connection: use {flag} https://{address.text}"
    if tls.used and peer.protocol and not peer.encrypted:
        return f"{address.text} does not use TLS: leave out https:// and the TLS options"
    if peer.protocol not in ("", protocol):
        advice = f"add --protocol {peer.protocol}, or specify the {NAMES[protocol]} port"
        return f"{address.text} speaks {NAMES[peer.protocol]}, not {NAMES[protocol]}: {advice} with {flag}"
    return peer.problem


def spoken_protocol(address: Address) -> str:
    """Return what the server at an address speaks, "http" or "grpc"; "" if nothing there answers in either."""
    peer = _peer(address, "grpc", Tls(verified=False))
    return "" if peer is None else peer.protocol


def await_listener(address: Address, seconds: float) -> None:
    """Return as soon as something accepts connections at the address, after `seconds` at the latest."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0 and not listens(address, min(left, CONNECT_S)):
        time.sleep(_PAUSE_S)


def listens(address: Address, seconds: float = CONNECT_S) -> bool:
    """Return whether something accepts a connection at the address within `seconds`."""
    with suppress(OSError), socket.create_connection((address.host, address.port), seconds):
        return True
    return False


def _peer(address: Address, protocol: str, tls: Tls) -> Peer | None:
    """Return what listens at the address, None if nothing accepts a connection."""
    try:
        plain = socket.create_connection((address.host, address.port), CONNECT_S)
    except OSError:
        return None
    with plain:
        answer = _answer(plain)
    if _protocol(answer):
        return Peer(_protocol(answer))
    unverified = replace(tls, verified=False).context(protocol)
    unverified.set_alpn_protocols([*ALPN["grpc"], *ALPN["http"]])
    try:
        found = _encrypted_protocol(address, unverified)
    except OSError as error:
        alert = _alert(error)
        if alert:
            return Peer(encrypted=True, problem=_refusal(address, tls, alert))
        return Peer(problem=_silence(address, answer, error))
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


def _alert(error: OSError) -> str:
    """Return the name of the alert with which the peer ended a handshake, "" if something else ended it."""
    match = _ALERT.match(_reason(error)) if isinstance(error, ssl.SSLError) else None
    return match[1] if match else ""


def _reason(error: OSError) -> str:
    """Return OpenSSL's reason for an error of TLS, also where it is only in the text, as for alerts that the standard
    library does not know; the system's reason for any other."""
    text = str(error.strerror or error)
    if not isinstance(error, ssl.SSLError):
        return text
    found = _IN_TEXT.search(text)
    return error.reason or (found[1].upper().replace(" ", "_") if found else text)


def _refusal(address: Address, tls: Tls, alert: str) -> str:
    if alert not in _ABOUT_CERTIFICATES:
        return f"{address.text} ends the handshake: {alert}"
    if tls.certificate is None:
        flags = "--client-certificate FILE and --client-key FILE"
        return f"{address.text} refuses a client without a certificate of its own: specify {flags}"
    return f"{address.text} refuses the certificate '{tls.certificate}': {alert}"


def _silence(address: Address, answer: bytes, error: OSError) -> str:
    """Return what is known of a peer that accepts connections, and nothing else that it is asked for."""
    said = "speaks neither gRPC nor HTTP" if answer else "does not answer"
    return f"{address.text} accepts connections but {said}; a TLS handshake fails too: {_reason(error)}"
