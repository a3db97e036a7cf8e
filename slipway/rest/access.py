"""Which requests are refused because a web page could have sent them from its visitor's browser. Does not know routes.

A browser lets any page send requests to this machine, and DNS rebinding makes such a page's own name point here. So a
server on loopback answers only to names that are its own; addresses are always accepted, because a page that was
rebound has a name. A server that others can reach may have any name, so there only requests that change its state are
refused. Those are also refused if they come from a page of another origin, or if a browser sent their body as a form.
Programs that are not browsers send none of the headers looked at here, apart from `Host`.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

from slipway.errors import shown
from slipway.rest.exchange import Exchange

_ANY: Final = "*"
_HOST: Final = re.compile(r"(?P<name>\[[^\]]*\]|[^:]*)(?::(?P<port>[0-9]*))?")
_ORIGIN: Final = re.compile(r"(?P<scheme>https?)://(?P<host>.*)", re.IGNORECASE)
_PORTS: Final = {"http": "80", "https": "443"}
_SAME: Final = (b"same-origin", b"none")  # Sec-Fetch-Site of a page's own requests, and of the user's
_BROWSER: Final = (b"origin", b"referer", b"sec-fetch-site", b"sec-fetch-mode")
_JSON: Final = b"application/json"
_MAX_ACCEPTED: Final = 64  # values of `Host` to remember


@dataclass(frozen=True, slots=True)
class Refusal:
    """The HTTP status and the reason for a refused request."""

    status: int
    message: str


@dataclass(frozen=True, slots=True)
class Access:
    """The names that a server answers to, besides addresses; one that starts with a dot stands for a whole domain.

    `own` are the machine's names, `allowed` those that the operator specified, whose pages are trusted too; "*" allows
    every name, but no page. `is_local` means that only this machine can reach the server.
    """

    own: frozenset[str] = frozenset()
    allowed: frozenset[str] = frozenset({_ANY})
    is_local: bool = False
    _accepted: set[bytes] = field(default_factory=set, compare=False)

    def refusal(self, exchange: Exchange, *, changes_state: bool = False) -> Refusal | None:
        """Return why the request is refused, or None. `changes_state` is said of a route: GET changes nothing."""
        changes_state = changes_state and exchange.method != b"GET"
        if not (self.is_local or changes_state):
            return None
        host = exchange.headers.get(b"host", b"")
        refusal = self._host_refusal(host)
        if refusal is not None:
            return refusal
        return self._page_refusal(exchange, host) if changes_state else None

    def refusal_of_host(self, host: bytes) -> Refusal | None:
        """Return why a request to a server that only this machine reaches is refused for its `Host`, or None."""
        return self._host_refusal(host) if self.is_local else None

    def _host_refusal(self, host: bytes) -> Refusal | None:
        if host not in self._accepted:
            if not self._answers_to(host):
                name = shown(host.decode("latin-1"))
                return Refusal(403, f"'{name}' is not a name of this server. Use --http-allowed-hosts to add it.")
            if len(self._accepted) < _MAX_ACCEPTED:
                self._accepted.add(host)
        return None

    def _answers_to(self, host: bytes) -> bool:
        name, _ = _split(host.decode("latin-1"))
        if not name or _is_address(name) or _ANY in self.allowed:
            return True
        return _includes(self.own, name) or _includes(self.allowed, name)

    def _page_refusal(self, exchange: Exchange, host: bytes) -> Refusal | None:
        """Return why a web page may not send this request; None if it may, or if no page sent it."""
        headers = exchange.headers
        origin = headers.get(b"origin")
        if origin is not None:
            is_foreign = not self._trusts(origin.decode("latin-1"), host.decode("latin-1"))
        else:
            is_foreign = headers.get(b"sec-fetch-site", b"none") not in _SAME
        if is_foreign:
            page = shown((origin or b"another site").decode("latin-1"))
            return Refusal(
                403, f"a web page of '{page}' may not change this server. Use --http-allowed-hosts to allow its host."
            )
        media = headers.get(b"content-type", b"") if exchange.body else _JSON
        if any(name in headers for name in _BROWSER) and media.partition(b";")[0].strip().lower() != _JSON:
            sent = shown(media.decode("latin-1"))
            return Refusal(415, f"a web page has to send 'application/json' to change this server, not '{sent}'")
        return None

    def _trusts(self, origin: str, host: str) -> bool:
        """Return whether `origin` is the server itself, or on a host that the operator allowed."""
        match = _ORIGIN.fullmatch(origin)
        if match is None:  # "null": a sandboxed page, or a file
            return False
        default = _PORTS[match["scheme"].lower()]
        name, port = _split(match["host"])
        own_name, own_port = _split(host)
        return (name, port or default) == (own_name, own_port or default) or _includes(self.allowed, name)


def access_to(address: str, allowed: Iterable[str]) -> Access:
    """Return the rule for a server that listens on `address` and that the operator calls by the names `allowed`."""
    own = frozenset({"localhost", ".localhost", socket.gethostname().lower(), address.lower()})
    return Access(own, frozenset(allowed), _is_loopback(address))


def _includes(names: Collection[str], name: str) -> bool:
    """Return whether `names` contain `name` or one of its domains."""
    labels = name.split(".")
    return name in names or any("." + ".".join(labels[start:]) in names for start in range(len(labels)))


def _split(host: str) -> tuple[str, str]:
    match = _HOST.fullmatch(host)
    if match is None:
        return host.lower(), ""
    return match["name"].lower().removesuffix("."), match["port"] or ""


def _is_address(name: str) -> bool:
    try:
        ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _is_loopback(address: str) -> bool:
    return address == "localhost" or (_is_address(address) and ip_address(address).is_loopback)
