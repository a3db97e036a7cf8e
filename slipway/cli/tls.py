"""How `slipway infer` encrypts connections: the PEM files that the user names, as settings of each client library."""

from __future__ import annotations

import os
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from slipway.errors import invalid, unavailable

ALPN: Final = {"grpc": ["h2"], "http": ["http/1.1"]}
CONNECT_S: Final = 5.0
DEFAULT_URL: Final = {"http": "localhost:8000", "grpc": "localhost:8001"}
_GRPC_AUTHORITIES: Final = "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"
_HASHED: Final = "????????.[0-9]*"  # names of certificates in a folder of OpenSSL's
_LARGEST: Final = 2**31 - 1  # bytes of a message, as tritonclient sets it


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a server; `text` is as the client libraries expect it."""

    text: str
    host: str
    port: int

    @staticmethod
    def of(text: str, *, encrypted: bool, flag: str = "--url") -> Address:
        """Return the address in HOST:PORT[/PATH], the value of `flag`; raise INVALID_ARG if it is not one."""
        try:
            parts = urlsplit(f"//{text}")
            port = parts.port or (443 if encrypted else 80)
        except ValueError as error:
            raise invalid(f"{flag} '{text}' is not an address: {error}; expected HOST:PORT") from None
        return Address(text, parts.hostname or "localhost", port)


@dataclass(frozen=True, slots=True)
class Tls:
    """Whether connections are encrypted, the authorities to trust (None: those of the system), the certificate and key
    that identify this client, and whether the server's certificate is verified."""

    used: bool = False
    authorities: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    verified: bool = True

    def check(self) -> None:
        """Raise INVALID_ARG for files that cannot be used."""
        if self.key is not None and self.certificate is None:
            raise invalid("--client-key needs the --client-certificate that it belongs to")
        for flag, path in (
            ("--ca-certificate", self.authorities),
            ("--client-certificate", self.certificate),
            ("--client-key", self.key),
        ):
            if path is not None and not path.is_file():
                raise invalid(f"{flag}: '{path}' is not a file")
        self.configure(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    def context(self, protocol: str) -> ssl.SSLContext:
        """Return a context of the standard library for connections with `protocol`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.set_alpn_protocols(ALPN[protocol])
        self.configure(context)
        return context

    def configure(self, context: ssl.SSLContext) -> None:
        """Set what a context of ssl or gevent.ssl trusts, and how it identifies itself."""
        if not self.verified:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        try:
            if self.authorities is None:
                context.load_default_certs()
            else:
                context.load_verify_locations(self.authorities)
        except ssl.SSLError:
            raise invalid(f"--ca-certificate: '{self.authorities}' does not contain certificates in PEM") from None
        except OSError as error:
            raise invalid(f"--ca-certificate: '{self.authorities}' cannot be read: {error.strerror}") from None
        self._identify(context)

    def _identify(self, context: ssl.SSLContext) -> None:
        if self.certificate is None:
            return
        try:
            context.load_cert_chain(self.certificate, self.key, self._refuse_passphrase)
        except OSError as error:
            reason = error.reason or "not PEM" if isinstance(error, ssl.SSLError) else error.strerror
            key = f"'{self.certificate}'" + (f" with --client-key '{self.key}'" if self.key else "")
            raise invalid(f"--client-certificate: {key} cannot be used: {reason}") from None

    def _refuse_passphrase(self) -> str:
        """Refuse an encrypted key, for which the libraries would ask again and again, or which they cannot read."""
        flag = "--client-key" if self.key else "--client-certificate"
        raise invalid(f"{flag}: the key in '{self.key or self.certificate}' is encrypted; decrypt it first")

    def settings(self, protocol: str, address: Address) -> dict[str, Any]:
        """Return the arguments of tritonclient's InferenceServerClient; raise OSError if the server has to be asked for
        its certificate and cannot be."""
        if not self.used:
            return {}
        return self._grpc_settings(address) if protocol == "grpc" else self._http_settings()

    def _http_settings(self) -> dict[str, Any]:
        import gevent.ssl

        def make(**_: Any) -> Any:  # is passed authorities of its own choice
            context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self.configure(context)
            return context

        return {"ssl": True, "ssl_context_factory": make, "insecure": not self.verified}

    def _grpc_settings(self, address: Address) -> dict[str, Any]:
        """Return credentials; gRPC cannot skip the verification, so the server's own certificate is trusted instead."""
        import grpc

        trusted = self.authorities.read_bytes() if self.authorities else _system_authorities()
        options: list[tuple[str, str | int]] = [
            ("grpc.max_send_message_length", _LARGEST),
            ("grpc.max_receive_message_length", _LARGEST),
        ]
        if not self.verified:
            trusted, name = self._presented(address)
            options.append(("grpc.ssl_target_name_override", name))
        chain = self.certificate.read_bytes() if self.certificate else None
        key = self.key or self.certificate  # one file may hold both
        credentials = grpc.ssl_channel_credentials(trusted, key.read_bytes() if key else None, chain)
        return {"creds": credentials, "channel_args": options}

    def _presented(self, address: Address) -> tuple[bytes, str]:
        """Return the certificate that the server presents, and a name that it is for."""
        try:
            with _encrypted(address, self.context("grpc")) as connection:
                der = connection.getpeercert(binary_form=True) or b""
            certificate = ssl.DER_cert_to_PEM_cert(der)
            trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            trusting.check_hostname = False
            trusting.load_verify_locations(cadata=certificate)
            trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            trusting.set_alpn_protocols(ALPN["grpc"])
            self._identify(trusting)
            with _encrypted(address, trusting) as connection:  # only a verified certificate can be read
                return certificate.encode(), _name(connection.getpeercert() or {}, address.host)
        except ssl.SSLCertVerificationError as error:
            reason = f"gRPC cannot use it even with --insecure: {error.verify_message}"
            raise unavailable(f"the certificate of {address.text} is not valid, and {reason}") from None


def _system_authorities() -> bytes | None:
    """Return the authorities that the system trusts, in PEM; None, which means those that grpcio brings, if there are
    none, or if the variable that gRPC reads names a file."""
    if os.environ.get(_GRPC_AUTHORITIES):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    folder = ssl.get_default_verify_paths().capath
    for path in Path(folder).glob(_HASHED) if folder else ():  # which OpenSSL reads only when it needs one
        with suppress(OSError):
            context.load_verify_locations(path)
    return "".join(map(ssl.DER_cert_to_PEM_cert, context.get_ca_certs(binary_form=True))).encode() or None


def _encrypted(address: Address, context: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection((address.host, address.port), CONNECT_S)
    try:
        return context.wrap_socket(plain, server_hostname=address.host)
    except BaseException:
        plain.close()
        raise


def _name(certificate: Any, default: str) -> str:
    names = [name for kind, name in certificate.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]
    common = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    return next(iter([*names, *common]), default).replace("*.", "any.")
