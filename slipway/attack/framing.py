"""Groups about framing: where a request ends, which headers count, and whom it is for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from slipway.attack.cases import AttackRequest, send_requests
from slipway.attack.framings import CHUNKED, H2C, LAST, LIVE, WEBSOCKET, Framing, FramingCorpus, offers
from slipway.attack.group import AttackGroup, AttackRun
from slipway.attack.transport import ReceivedBytes

_NOTHING: Final = b"/v2/repository/models/slipway-attack-nothing/unload"
_INNER: Final = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n" % _NOTHING
_OFFERS: Final = 1000
_METHODS: Final = ("TRACE", "DELETE", "PATCH", "CONNECT", "PROPFIND", "get")
_NOT_HTTP: Final = {
    "HTTP/0.9": b"GET /v2\r\n\r\n",
    "a TLS handshake": b"\x16\x03\x01\x02\x00\x01",
    "nonsense": b"nonsense\r\n\r\n",
    "an unknown version": b"GET /v2 HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}
_ODD_TARGETS: Final = (
    "*",
    "v2/health/live",
    "ftp://localhost/v2/health/live",
    "http:///v2/health/live",
    "//v2/health/live",
    "/v2//health/live",
    "/v2/./health/live",
    "/v2/models/../health/live",
    "/v2/models/%2e%2e/health/live",
    "/v2%2fhealth/live",
    "/V2/Health/Live",
    "/v2;x/health/live",
    "/v2\\health\\live",
    "/v2/health/live%00",
)
_HOSTS: Final = {
    "no host": (),
    "two hosts": (b"Host: localhost", b"Host: localhost"),
    "two other hosts": (b"Host: localhost", b"Host: evil.example"),
    "a list": (b"Host: localhost, evil.example",),
    "a blank": (b"Host: local host",),
    "a path": (b"Host: localhost/v2",),
    "a user": (b"Host: user@localhost",),
    "a port that is not a number": (b"Host: localhost:http",),
}


def wrong_framing(framing: Framing, received: ReceivedBytes) -> str:
    """Return what is wrong with the responses to a framing, "" if nothing is."""
    found = received.statuses
    if len(found) > (framing.at_most or framing.requests):
        what = "what comes after it" if framing.broken else "what is in a body"
        return f"{len(found)} responses to {framing.requests} requests: {what} was read as a request"
    if framing.broken and len(found) == framing.requests and found[-1] < 400 and not framing.at_most:
        return f"accepted with status {found[-1]}"
    if not framing.broken and len(found) < framing.requests:
        refused = bool(found) and found[-1] >= 400 and received.closed
        return "" if refused else f"only {len(found)} responses to {framing.requests} requests"
    return ""


async def _frame(run: AttackRun, framings: Mapping[str, Framing], *, singly: bool = False) -> None:
    async def attempt(framing: Framing) -> str:
        async with run.dialler.connection() as connection:
            return wrong_framing(framing, await connection.exchange(framing.data, singly=singly))

    await run.each(framings.items(), attempt, at_once=16)


def _corpus(run: AttackRun) -> FramingCorpus:
    return FramingCorpus(run.models.good.infer.encode(), _INNER)


async def _bodies(run: AttackRun) -> None:
    await _frame(run, _corpus(run).whole())


async def _doubtful(run: AttackRun) -> None:
    await _frame(run, _corpus(run).broken())


async def _byte_by_byte(run: AttackRun) -> None:
    await _frame(run, _corpus(run).whole() | _corpus(run).broken(), singly=True)


async def _upgrades(run: AttackRun) -> None:
    async def attempt(lines: tuple[bytes, ...]) -> str:
        async with run.dialler.connection() as connection:
            received = await connection.exchange(offers(lines, _OFFERS), silence_s=run.bounds.response_s)
        count = len(received.statuses)
        refused = received.closed and count > 0 and received.statuses[-1] >= 400
        return "" if count == _OFFERS or refused else f"{_OFFERS} requests got {count} responses"

    await run.each({"websocket": WEBSOCKET, "h2c": H2C, "none": ()}.items(), attempt)


async def _hosts(run: AttackRun) -> None:
    framings = {
        name: Framing(LIVE + b"\r\n".join([b"GET /v2/health/live HTTP/1.1", *lines, b"", b""]) + LIVE, 2, broken=True)
        for name, lines in _HOSTS.items()
    }
    await _frame(run, framings)


async def _trailers(run: AttackRun) -> None:
    """Send the good request in a chunk: whatever the trailers say, the response has to be as to a harmless one."""
    good = run.models.good
    body = b"%x\r\n%b\r\n0\r\n" % (len(document := _document(run)), document)
    head = b"\r\n".join([b"POST %b HTTP/1.1" % good.infer.encode(), b"Host: localhost", CHUNKED, b"", b""])

    async def status(trailer: bytes) -> int:
        async with run.dialler.connection() as connection:
            received = await connection.exchange(head + body + trailer + b"\r\n" + LAST)
            return received.statuses[0] if received.statuses else 0

    harmless = await status(b"X-Harmless: y\r\n")

    async def attempt(trailer: bytes) -> str:
        found = await status(trailer + b"\r\n")
        refused = found >= 400 and trailer.startswith((b"Content-Length", b"Host"))  # RFC 9110, section 6.5.1
        if found == harmless or refused:
            return ""
        return f"status {found}, and {harmless} with a harmless trailer: it was treated as a header"

    trailers = {
        "Inference-Header-Content-Length": b"Inference-Header-Content-Length: 1",
        "Content-Encoding": b"Content-Encoding: gzip",
        "Host": b"Host: evil.example",
        "Content-Length": b"Content-Length: 5",
    }
    await run.each(trailers.items(), attempt)


def _document(run: AttackRun) -> bytes:
    return json.dumps(run.models.good.document()).encode()


async def _methods(run: AttackRun) -> None:
    paths = ("/v2", "/v2/health/live", run.models.good.path, run.models.good.infer, "/v2/repository/index")

    async def attempt(data: bytes) -> str:
        async with run.dialler.connection() as connection:
            received = await connection.exchange(data)
        accepted = received.statuses and received.statuses[0] < 400
        return f"accepted with status {received.statuses[0]}" if accepted else ""

    line = "{} {} HTTP/1.1\r\nHost: localhost\r\nX-Secret: slipway-attack\r\nConnection: close\r\n\r\n"
    cases = {f"{method} {path}": line.format(method, path).encode() for method in _METHODS for path in paths}
    await run.each(cases.items(), attempt)


async def _not_http(run: AttackRun) -> None:
    async def attempt(data: bytes) -> str:
        async with run.dialler.connection() as connection:
            found = (await connection.exchange(data)).statuses
        return f"{len(found)} responses, the last one with status {found[-1]}" if found and found[-1] < 400 else ""

    await run.each(_NOT_HTTP.items(), attempt)


async def _lying_lengths(run: AttackRun) -> None:
    """Announce bodies that are too long for any server; whoever waits for them waits for ever."""

    async def attempt(lines: bytes) -> str:
        async with run.dialler.connection() as connection:
            head = b"POST %b HTTP/1.1\r\nHost: localhost\r\n%b\r\n\r\n" % (run.models.good.infer.encode(), lines)
            received = await connection.exchange(head, silence_s=min(2.0, run.bounds.response_s))
        if received.closed or (received.statuses and received.statuses[0] >= 400):
            return ""
        return "neither refused nor closed: the server waits for the body"

    lengths = {f"{size} bytes": b"Content-Length: %d" % size for size in (2**40, 2**62, 2**63 - 1)}
    await run.each(lengths.items(), attempt)


async def _targets(run: AttackRun) -> None:
    refused = {target: AttackRequest(target, method="GET", may_close=True) for target in _ODD_TARGETS}
    absolute = {
        f"{scheme}://localhost/": AttackRequest(f"{scheme}://localhost/v2/health/live", method="GET", refuse=False)
        for scheme in ("http", "HTTP")
    }
    await send_requests(run, refused | absolute)


GROUPS: Final = (
    AttackGroup(
        1,
        "body-ends",
        "valid requests whose body is another request: sized, in chunks, with trailers, with offers of WebSocket",
        "RFC 9112, sections 6 and 7; RFC 9110, section 7.8",
        "as many responses as requests",
        _bodies,
    ),
    AttackGroup(
        2,
        "doubtful-ends",
        "requests whose end two programs could read differently: two lengths, odd codings and sizes",
        "RFC 9112, sections 6.1, 6.3 and 7.1",
        "refused, and nothing after it is read; where an RFC leaves a choice, both are right",
        _doubtful,
    ),
    AttackGroup(
        3,
        "byte-by-byte",
        "all requests of groups 1 and 2, each byte in a packet of its own",
        "a parser must not depend on how the network cuts a request",
        "as in groups 1 and 2",
        _byte_by_byte,
    ),
    AttackGroup(
        4,
        "offered-upgrades",
        "a thousand pipelined requests that offer WebSocket or h2c",
        "RFC 9110, section 7.8: a server may ignore an offer, but not the requests after it",
        "a thousand responses, or a refusal and the end of the connection",
        _upgrades,
    ),
    AttackGroup(
        5,
        "hosts",
        "HTTP/1.1 requests without Host, with two, or with an invalid one",
        "RFC 9112, section 3.2: 400",
        "refused, and nothing after it is read",
        _hosts,
    ),
    AttackGroup(
        6,
        "trailers-as-headers",
        "the good request in chunks, with headers of HTTP and of the protocol as trailers",
        "RFC 9110, section 6.5.1: trailers are not merged into headers",
        "the same status as with a harmless trailer",
        _trailers,
    ),
    AttackGroup(
        7,
        "methods",
        "TRACE, DELETE, PATCH, CONNECT, PROPFIND and a method in lower case on five paths",
        "RFC 9110, section 9; TRACE and CONNECT open ways that a server of models does not need",
        "an error, or the end of the connection",
        _methods,
    ),
    AttackGroup(
        8,
        "not-http",
        "HTTP/0.9, TLS, the preface of HTTP/2, an unknown version and nonsense",
        "RFC 9112, section 2.3",
        "an error, or the end of the connection",
        _not_http,
    ),
    AttackGroup(
        9,
        "announced-lengths",
        "bodies of a tebibyte and more, announced and never sent",
        "RFC 9110, section 15.5.14: a body that will not be read is refused before it is sent",
        "refused or closed within two seconds",
        _lying_lengths,
    ),
    AttackGroup(
        10,
        "odd-targets",
        "targets with .., doubled and turned slashes, parameters, other schemes, no slash, and an asterisk",
        "RFC 9112, section 3.2; whoever tidies a path passes the rule of a proxy that does not",
        "an error, or the end of the connection; http:// with the server's own name may be read",
        _targets,
    ),
)
