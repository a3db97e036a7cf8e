"""Addresses that may be attacked: those of this machine's loopback interface, whatever name leads there.

The address that was checked is the one that is connected to, so that a name cannot point elsewhere later.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from slipway.errors import invalid


@dataclass(frozen=True, slots=True)
class LoopbackAddress:
    """A port on a loopback address, which is an IP address and never a name."""

    ip: str
    port: int

    @property
    def family(self) -> socket.AddressFamily:
        """The address family of its sockets."""
        return socket.AF_INET6 if ":" in self.ip else socket.AF_INET

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


def http_address(url: str) -> LoopbackAddress:
    """Return the address of `http://HOST:PORT`; raise INVALID_ARG if it is not a loopback address."""
    return _address("--url", url, 8000)


def grpc_address(text: str) -> LoopbackAddress:
    """Return the address of `HOST:PORT`; raise INVALID_ARG if it is not a loopback address."""
    return _address("--grpc", text, 8001)


def _address(flag: str, text: str, default_port: int) -> LoopbackAddress:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
    except ValueError as error:  # brackets that do not match
        raise invalid(f"{flag} '{text}' is not the address of a server: {error}") from None
    if parts.scheme not in ("http", "grpc"):
        raise invalid(f"{flag} '{text}' begins with '{parts.scheme}://', but the attacks are sent without TLS")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise invalid(f"{flag} '{text}' contains more than a host and a port")
    try:
        host, port = parts.hostname, default_port if parts.port is None else parts.port
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM) if host else []
    except (OSError, ValueError) as error:
        raise invalid(f"{flag} '{text}' is not the address of a server: {error}") from None
    if not found:
        raise invalid(f"{flag} '{text}' does not name a host")
    addresses = [str(entry[4][0]) for entry in found]
    foreign = [each for each in addresses if not ipaddress.ip_address(each.partition("%")[0]).is_loopback]
    if foreign:
        raise invalid(
            f"{flag} '{text}' leads to {foreign[0]}, which is not a loopback address; attacks are sent only to servers "
            "on this machine, through 127.0.0.0/8 or ::1"
        )
    return LoopbackAddress(addresses[0], port)
