"""The certificate of a server, in files that somebody may replace while it runs. Does not know who listens.

Certificates expire and are renewed, so every handshake looks whether the files have changed. New ones are used once
they belong together: between the moments at which the certificate and its key are replaced, the old ones serve.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slipway.errors import SlipwayError, unavailable

_LOG: Final = logging.getLogger("slipway.server")


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """PEM files: a certificate and its key, and the authorities of client certificates (None: clients need none)."""

    certificate: Path
    key: Path
    authorities: Path | None = None

    def __iter__(self) -> Iterator[Path]:
        yield from (self.certificate, self.key)
        if self.authorities is not None:
            yield self.authorities


@dataclass(frozen=True, slots=True)
class Pem:
    """The contents of the files."""

    certificate: bytes
    key: bytes
    authorities: bytes | None


class Certificates:
    """The files of one front and what they contained when they last belonged together; any thread may refresh them."""

    def __init__(
        self, files: CertificateFiles, front: str, *, protocol: str = "http/1.1", verifies: bool = True
    ) -> None:
        self._protocol = protocol  # that TLS agrees on (ALPN)
        self._verifies = verifies  # clients, if there are authorities for them
        self._lock = threading.Lock()
        self._files = files
        self._front = front
        self._seen: tuple[object, ...] = ()
        self.pem: Pem
        self.context: ssl.SSLContext

    def load(self) -> None:
        """Read the files; raise UNAVAILABLE if they cannot be used."""
        self._seen = self._look()
        self.pem, self.context = self._read()

    def refresh(self) -> bool:
        """Read the files again if they have changed; return whether there are others to use now. A fault is logged
        once."""
        with self._lock:
            look = self._look()
            if look == self._seen:
                return False
            self._seen = look
            try:
                self.pem, self.context = self._read()
            except SlipwayError as error:
                _LOG.error("the new certificate is not used: %s", error.message)
                return False
        _LOG.info("the %s service uses the new certificate '%s'", self._front, self._files.certificate)
        return True

    def _look(self) -> tuple[object, ...]:
        """Return what changes when a file does, or a link to it."""
        look: list[object] = []
        for path in self._files:
            try:
                stat = path.stat()
            except OSError as error:
                look.append(error.errno)
            else:
                look.append((stat.st_mtime_ns, stat.st_size, stat.st_ino, stat.st_dev))
        return tuple(look)

    def _read(self) -> tuple[Pem, ssl.SSLContext]:
        files = self._files
        key = self._contents(files.key, "key")
        certificate = self._contents(files.certificate, "certificate")
        root = None if files.authorities is None else self._contents(files.authorities, "root certificate")
        pem = Pem(certificate, key, root)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols([self._protocol])
        context.options |= ssl.OP_NO_RENEGOTIATION
        if pem.authorities is not None and self._verifies:  # a resumed session would not show its certificate again
            context.options |= ssl.OP_NO_TICKET
            context.num_tickets = 0
        try:
            context.load_cert_chain(files.certificate, files.key, self._refuse_passphrase)
            if pem.authorities is not None:
                context.load_verify_locations(cadata=pem.authorities.decode("ascii"))
                if self._verifies:
                    context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ValueError) as error:  # ValueError: not ASCII, or too long
            reason = getattr(error, "reason", None) or "not PEM"
            raise self._fault(f"its certificate files cannot be used: {reason}") from None
        return pem, context

    def _contents(self, path: Path, what: str) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise self._fault(f"cannot read its {what} file: {error.strerror}") from None

    def _refuse_passphrase(self) -> str:
        """Refuse an encrypted key: OpenSSL would ask for the passphrase on the terminal."""
        raise self._fault("its key is encrypted; decrypt it first")

    def _fault(self, reason: str) -> SlipwayError:
        return unavailable(f"failed to start the {self._front} service: {reason}")


def serving_context(certificates: Certificates) -> ssl.SSLContext:
    """Return the context of every new connection, which takes the newest certificate as soon as the client has spoken,
    whether it names a server or not."""

    def renew(connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        certificates.refresh()
        if connection.context is not certificates.context:
            connection.context = certificates.context

    certificates.load()
    certificates.context.sni_callback = renew
    return certificates.context
