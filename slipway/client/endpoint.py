"""Where a server is and how to reach it: an address with or without a scheme, TLS, headers. Opens nothing."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from ssl import SSLContext
from typing import Any, Final
from urllib.parse import urlsplit

from slipway.errors import SlipwayError, invalid, shown
from slipway.nearest import nearest_or_all

# Scheme -> protocol, whether it is encrypted, the port without one.
_SCHEMES: Final = {
    "grpc": ("grpc", False, 8001),
    "grpcs": ("grpc", True, 443),
    "http": ("http", False, 80),
    "https": ("http", True, 443),
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a server; `prefix` is the path before the routes, `tls` is None for plain connections, `headers`
    go with every request."""

    host: str
    port: int
    prefix: str = ""
    tls: SSLContext | None = None
    timeout: float = 600.0  # seconds for one request
    headers: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}{self.prefix}"


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """A parsed address: "localhost:8001" is gRPC; the schemes are grpc, grpcs, http and https."""

    protocol: str  # "grpc" or "http"
    encrypted: bool
    endpoint: Endpoint

    @staticmethod
    def of(url: str) -> ServerUrl:
        """Return the parsed address; raise INVALID_ARG for one that is not valid."""
        if not isinstance(url, str) or not url.strip() or not url.isprintable():
            raise invalid(f"{url!r} is not the address of a server: expected HOST:PORT or http://HOST:PORT")
        scheme, separator, rest = url.strip().partition("://")
        if not separator:
            scheme, rest = "grpc", scheme
        if scheme.lower() not in _SCHEMES:
            raise invalid(f"'{shown(url)}' has an unknown scheme{nearest_or_all(scheme, _SCHEMES)}")
        protocol, encrypted, usual = _SCHEMES[scheme.lower()]
        try:
            parts = urlsplit(f"//{rest}")
            port = usual if parts.port is None else parts.port
        except ValueError as error:
            raise _not_an_address(url, str(error)) from None
        prefix = parts.path.rstrip("/")
        if not parts.hostname or parts.query or parts.fragment or " " in url.strip():
            raise _not_an_address(url, "expected HOST:PORT")
        if parts.username is not None:
            raise _not_an_address(url, "it has a user; send credentials with headers= or api_key=")
        if prefix and protocol == "grpc":
            raise _not_an_address(url, "gRPC has no path")
        return ServerUrl(protocol, encrypted, Endpoint(parts.hostname, port, prefix))


def _not_an_address(url: str, why: str) -> SlipwayError:
    return invalid(f"'{shown(url)}' is not the address of a server: {why}")


def with_headers(endpoint: Endpoint, headers: Mapping[str, str], api_key: str) -> Endpoint:
    """Return the endpoint with headers for every request; raise INVALID_ARG for one that could not be sent."""
    given = dict(headers)
    if api_key:
        given["Authorization"] = f"Bearer {api_key}"
    for name, value in given.items():
        if not name or not all(each.isalnum() or each in "-_." for each in name) or not name.isascii():
            raise invalid(f"header name {shown(name)!r} is not valid")
        if not isinstance(value, str) or not value.isprintable():
            raise invalid(f"the value of header '{name}' has a line break or control character, or is not text")
        if not value.isascii():
            raise invalid(f"the value of header '{name}' is not ASCII")
    return replace(endpoint, headers=tuple(given.items()))


@dataclass(frozen=True, slots=True)
class ClientCertificates:
    """The PEM files of an encrypted connection: the authorities to trust (None: the system's), and the certificate and
    key of this client. With `verify` False, any certificate of the server is accepted (HTTP only)."""

    authorities: str | os.PathLike[str] | None = None
    certificate: str | os.PathLike[str] | None = None
    key: str | os.PathLike[str] | None = None
    verify: bool = True

    @property
    def are_given(self) -> bool:
        """Whether anything is set."""
        return self != ClientCertificates()

    def context(self) -> SSLContext:
        """Return the context of HTTP connections; raise INVALID_ARG for files that cannot be used."""
        self._check()
        try:
            context = ssl.create_default_context(cafile=self.authorities)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except OSError as error:
            raise invalid(f"the certificates cannot be used: {error.strerror or error}") from None
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["http/1.1"])
        return context

    def grpc_credentials(self) -> Any:
        """Return the credentials of a gRPC channel; raise INVALID_ARG for files that cannot be used."""
        import grpc

        self._check()
        if not self.verify:
            raise invalid("gRPC cannot skip the verification of a certificate: set ca_certificate, or use HTTP")
        key = self.key or self.certificate  # one file may hold both
        return grpc.ssl_channel_credentials(_read(self.authorities), _read(key), _read(self.certificate))

    def _check(self) -> None:
        if self.key is not None and self.certificate is None:
            raise invalid("client_key needs client_certificate, which it belongs to")


def _read(path: str | os.PathLike[str] | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise invalid(f"'{path}' cannot be read: {error.strerror}") from None
