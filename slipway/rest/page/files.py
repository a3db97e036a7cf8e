"""The files of the page, read once when the server starts: HTML, CSS, JavaScript modules, an icon.

They come from this package only, so no request can lead to another file. The headers let a browser run nothing but
these files: no inline script or style, no other host, no frame around the page, and no text that becomes HTML.
Source: W3C Content Security Policy Level 3, Trusted Types; RFC 9110, 8.8.3 and 13.1.2.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slipway.rest.exchange import Exchange

HOME: Final = b"/"
PREFIX: Final = b"/ui/"
_NO_SNIFFING: Final = b"X-Content-Type-Options: nosniff\r\n"
FRESH: Final = _NO_SNIFFING + b"Cache-Control: no-store\r\n"  # of documents about the server
_STATIC: Final = Path(__file__).with_name("static")
_INDEX: Final = "index.html"
_MEDIA: Final = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    b"form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_PROTECTION: Final = (
    b"Content-Security-Policy: " + _POLICY + b"\r\n" + _NO_SNIFFING + b"Referrer-Policy: no-referrer\r\n"
    b"Cross-Origin-Opener-Policy: same-origin\r\nCross-Origin-Resource-Policy: same-origin\r\nX-Frame-Options: DENY\r\n"
)


@dataclass(frozen=True, slots=True)
class FileForm:
    """One form of a file, as it is or compressed: its body, the lines of its head, and its entity tag."""

    body: bytes
    headers: bytes
    tag: bytes


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file of the page in both forms."""

    plain: FileForm
    compressed: FileForm

    def send(self, exchange: Exchange) -> None:
        """Answer GET or HEAD with the file, or with 304 if the browser has it."""
        form = self.compressed if _takes_gzip(exchange.headers.get(b"accept-encoding", b"")) else self.plain
        has_it = _matches(exchange.headers.get(b"if-none-match", b""), form.tag)
        exchange.answer(304 if has_it else 200, form.headers, form.body)


def read_files() -> dict[bytes, PageFile]:
    """Return the files of the page by the path at which they are served."""
    return dict(_read())


def _read() -> Iterator[tuple[bytes, PageFile]]:
    for file in sorted(_STATIC.rglob("*")):
        media = _MEDIA.get(file.suffix)
        if media is None:
            continue
        name = file.relative_to(_STATIC).as_posix()
        yield (HOME if name == _INDEX else PREFIX + name.encode()), page_file(media, file.read_bytes())


def page_file(media: bytes, body: bytes) -> PageFile:
    """Return a file with the given media type."""
    small = gzip.compress(body, 9, mtime=0)
    return PageFile(_form(media, body), _form(media, small, b"Content-Encoding: gzip\r\n"))


def _form(media: bytes, body: bytes, encoding: bytes = b"") -> FileForm:
    tag = b'"%b"' % hashlib.sha256(body).hexdigest()[:32].encode()
    lines = b"Content-Type: %b\r\nETag: %b\r\nCache-Control: no-cache\r\nVary: Accept-Encoding\r\n" % (media, tag)
    return FileForm(body, lines + encoding + _PROTECTION, tag)


def _takes_gzip(accepted: bytes) -> bool:
    """Return whether `Accept-Encoding` names gzip without a weight of zero."""
    for each in accepted.lower().split(b","):
        coding, _, weight = each.partition(b";")
        if coding.strip() == b"gzip":
            return weight.replace(b" ", b"").rstrip(b"0").rstrip(b".") not in (b"q=", b"q=0")
    return False


def _matches(known: bytes, tag: bytes) -> bool:
    """Return whether `If-None-Match` has the tag; the comparison is the weak one (RFC 9110, 13.1.2)."""
    return known.strip() == b"*" or tag in (each.strip().removeprefix(b"W/") for each in known.split(b","))
