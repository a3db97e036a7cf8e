"""The meaning of bytes, without a socket: each row of the tables is fed whole, byte by byte and in two pieces."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Mapping

import pytest

from slipway.core import shared_bytes
from slipway.core.budget import TOO_MUCH_HELD
from slipway.core.shared_bytes import AVAILABLE, Body, SharedBytes
from slipway.rest.framing import HttpHead, Phase, RequestFraming, RequestLimits

LIMITS = RequestLimits(body=64, head=256, headers=8, repeated_headers=2, chunks=3)
GO_ON = "continue"


class Recorder:
    """A receiver that records its calls."""

    def __init__(self) -> None:
        self.heads: list[HttpHead] = []
        self.bodies: list[Body] = []
        self.events: list[object] = []
        self.held = 0
        self.most_held = 1 << 30

    def may_share(self, target: bytes, headers: Mapping[bytes, bytes]) -> bool:
        del headers
        return target == b"/shared"

    def request_received(self, head: HttpHead, body: Body) -> None:
        self.heads.append(head)
        self.bodies.append(body)
        self.events.append((head.method, head.path, bytes(body)))

    def continue_expected(self) -> None:
        self.events.append(GO_ON)

    def hold(self, size: int) -> bool:
        self.held += size
        return self.held <= self.most_held

    def refused(self, status: int, message: str) -> None:
        self.events.append((status, message))


def feed(*pieces: bytes) -> Recorder:
    """Return the recorder after `pieces`."""
    recorder = Recorder()
    framing = RequestFraming(recorder, LIMITS)
    for piece in pieces:
        framing.receive(piece)
    return recorder


def singles(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


GET = b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
OFFER = b"Host: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
UPGRADE = b"GET /u HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
TOO_LARGE = "exceeds the maximum allowed input size of 64 bytes. Use --http-max-input-size to increase the limit."

REQUESTS = {
    "no body": (GET, [(b"GET", b"/v2", b"")]),
    "a body of a known length": (POST, [(b"POST", b"/p", b"hello")]),
    "a body in chunks": (CHUNKED + b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n", [(b"POST", b"/c", b"hello")]),
    "trailers after chunks": (CHUNKED + b"1\r\nh\r\n0\r\nT: u\r\n\r\n", [(b"POST", b"/c", b"h")]),
    "a query": (b"GET /a?b=/c?d HTTP/1.1\r\nHost: x\r\n\r\n", [(b"GET", b"/a", b"")]),
    "pipelined": (GET + POST + GET, [(b"GET", b"/v2", b""), (b"POST", b"/p", b"hello"), (b"GET", b"/v2", b"")]),
    "leave to go on": (
        b"POST /p HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
        [GO_ON, (b"POST", b"/p", b"ok")],
    ),
    "another protocol on offer": (UPGRADE + GET, [(b"GET", b"/u", b""), (b"GET", b"/v2", b"")]),
    "another protocol on offer with a body": (
        b"POST /u HTTP/1.1\r\n" + OFFER + b"Content-Length: 5\r\n\r\nhello" + GET,
        [(b"POST", b"/u", b"hello"), (b"GET", b"/v2", b"")],
    ),
    "another protocol on offer with chunks": (
        b"POST /u HTTP/1.1\r\n" + OFFER + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n0\r\n\r\n" + POST,
        [(b"POST", b"/u", b"he"), (b"POST", b"/p", b"hello")],
    ),
    "a request in a body": (
        b"POST /u HTTP/1.1\r\n" + OFFER + b"Content-Length: %d\r\n\r\n" % len(GET) + GET,
        [(b"POST", b"/u", GET)],
    ),
    "offers one after the other": (UPGRADE * 50, [(b"GET", b"/u", b"")] * 50),
    "an absolute target": (b"GET http://h:80/v2/x?y HTTP/1.1\r\nHost: h\r\n\r\n", [(b"GET", b"/v2/x", b"")]),
    "an absolute target without a path": (b"GET HTTP://h HTTP/1.1\r\nHost: h\r\n\r\n", [(b"GET", b"/", b"")]),
    "a method that is not ours": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", [(b"OPTIONS", b"*", b"")]),
    "HTTP/1.0 without a host": (b"GET /v2 HTTP/1.0\r\n\r\n", [(b"GET", b"/v2", b"")]),
    "an address as host": (b"GET /v2 HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n", [(b"GET", b"/v2", b"")]),
    "an empty host": (b"GET /v2 HTTP/1.1\r\nHost:\r\n\r\n", [(b"GET", b"/v2", b"")]),
    "line ends before a request": (b"\r\n\r\n" + GET, [(b"GET", b"/v2", b"")]),
    "a request cut off": (POST[:-1], []),
}
REFUSALS = {
    "another version": (b"GET /v2 HTTP/2.0\r\n\r\n", 505, "only HTTP/1.0 and HTTP/1.1 are supported"),
    "a body too large": (
        b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 65\r\n\r\n",
        400,
        f"Request body of 65 bytes {TOO_LARGE}",
    ),
    "chunks too large": (
        CHUNKED + b"32\r\n" + b"a" * 50 + b"\r\n32\r\n" + b"a" * 50 + b"\r\n0\r\n\r\n",
        400,
        f"Request body of more than 64 bytes {TOO_LARGE}",
    ),
    "chunks too many": (
        CHUNKED + b"1\r\na\r\n" * 4 + b"0\r\n\r\n",
        400,
        "request body exceeds maximum of 3 non-empty chunks",
    ),
    "headers too many": (
        b"GET /v2 HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(9)) + b"\r\n",
        431,
        "more than 8 headers",
    ),
    "trailers too large": (
        CHUNKED + b"1\r\na\r\n0\r\n" + b"".join(b"T%d: %b\r\n" % (n, b"u" * 60) for n in range(5)) + b"\r\n",
        431,
        "the request head exceeds 256 bytes",
    ),
    "a head too large": (
        b"GET /v2 HTTP/1.1\r\nX: " + b"y" * 257 + b"\r\n\r\n",
        431,
        "the request head exceeds 256 bytes",
    ),
    "a target too large": (b"GET /" + b"y" * 257 + b" HTTP/1.1\r\n\r\n", 431, "the request head exceeds 256 bytes"),
    "no host": (b"GET /v2 HTTP/1.1\r\nX: y\r\n\r\n", 400, "malformed HTTP request: no Host header"),
    "two hosts": (
        b"GET /v2 HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n",
        400,
        "malformed HTTP request: more than one Host header",
    ),
    "a host that is none": (
        b"GET /v2 HTTP/1.1\r\nHost: a/b\r\n\r\n",
        400,
        "malformed HTTP request: the Host header is not a host and port",
    ),
    "a tunnel": (b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", 405, "Method Not Allowed"),
    "a tunnel with a body": (
        b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        405,
        "Method Not Allowed",
    ),
    "a header too often": (
        b"GET /v2 HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 4 + b"\r\n",
        431,
        "more than 2 repeated headers",
    ),
}


@pytest.mark.parametrize(("data", "expected"), REQUESTS.values(), ids=REQUESTS)
def test_requests_are_found_however_they_arrive(data, expected):
    assert feed(data).events == expected
    assert feed(*singles(data)).events == expected
    for at in range(1, len(data)):
        assert feed(data[:at], data[at:]).events == expected


@pytest.mark.parametrize(("data", "status", "message"), REFUSALS.values(), ids=REFUSALS)
def test_what_is_too_large_is_refused_once_and_nothing_after_it_is_read(data, status, message):
    for pieces in ([data + GET], [data, GET], singles(data + GET)):
        assert feed(*pieces).events == [(status, message)]


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET /v2 HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 1_0\r\n\r\n",
        CHUNKED + b"g\r\n",
        b"GET /v2 HTTP/1.1\r\nHost: x\r\nBad Header: x\r\n\r\n",
    ],
    ids=repr,
)
def test_what_is_not_http_is_malformed(data):
    for pieces in ([data + GET], singles(data + GET)):
        ((status, message),) = feed(*pieces).events
        assert status == 400
        assert message.startswith("malformed HTTP request: ")


def test_pipelined_requests_are_not_counted_as_one_head_or_body_wherever_they_are_cut():
    for one in (GET, POST, CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"):
        many = one * 100
        for cut in range(1, len(one)):
            pieces = [many[:cut], *(many[at : at + 10 * len(one)] for at in range(cut, len(many), 10 * len(one)))]
            assert len(feed(*pieces).events) == 100, (one, cut)


def test_empty_lines_before_a_request_are_bounded():
    assert feed(*[b"\r\n"] * 100, GET).events == [(b"GET", b"/v2", b"")]
    assert feed(*[b"\r\n"] * 200, GET).events == [(431, "the request head exceeds 256 bytes")]
    assert feed(*[GET, b"\r\n" * 50] * 9).events == [(b"GET", b"/v2", b"")] * 9


def test_the_host_of_an_absolute_target_counts_and_not_the_header():
    recorder = feed(b"GET http://evil.example:80/v2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert recorder.heads[0].headers == {b"host": b"evil.example:80"}
    for target in (b"http:///v2", b"http://user@h/v2", b"http://h:http/v2"):
        refusal = feed(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % target).events
        assert refusal == [(400, "malformed HTTP request: the target does not name a host")]


def test_a_head_without_end_is_refused():
    recorder = feed(b"GET /v2 HTTP/1.1\r\nHost: x\r\nX: ", *[b"a" * 100] * 3)
    assert recorder.events == [(431, "the request head exceeds 256 bytes")]


HEADS = {
    "HTTP/1.1": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", True, True),
    "HTTP/1.1 that ends": (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", False, True),
    "HTTP/1.0": (b"GET / HTTP/1.0\r\n\r\n", False, False),
    "HTTP/1.0 that goes on": (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True, False),
}


@pytest.mark.parametrize(("data", "keep_alive", "takes_chunks"), HEADS.values(), ids=HEADS)
def test_the_head_says_how_it_may_be_answered(data, keep_alive, takes_chunks):
    for pieces in ([data], singles(data)):
        (head,) = feed(*pieces).heads
        assert (head.keep_alive, head.takes_chunks) == (keep_alive, takes_chunks)


def test_header_names_are_lower_case_and_repeated_ones_are_joined():
    data = b"GET / HTTP/1.1\r\nAccept: a\r\nHOST: x\r\nACCEPT: b\r\n\r\n"
    for pieces in ([data], singles(data)):
        assert feed(*pieces).heads[0].headers == {b"accept": b"a, b", b"host": b"x"}


def test_the_same_head_again_is_the_same_object_with_another_body():
    recorder = feed(POST, POST[:-5] + b"again", GET, POST)
    first, again, _, later = recorder.heads
    assert first is again
    assert first == later
    assert first is not later
    assert [body for _, _, body in recorder.events] == [b"hello", b"again", b"", b"hello"]


@pytest.mark.parametrize(
    "data",
    [
        CHUNKED + b"1\r\nh\r\n0\r\n\r\n",
        b"POST /p HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
        UPGRADE,
        UPGRADE + POST,
        POST + POST,
    ],
    ids=["chunks", "expect", "upgrade", "upgrade and another", "two"],
)
def test_a_head_that_does_not_decide_the_framing_alone_is_parsed_again(data):
    once, twice = feed(data), feed(data, data)
    assert twice.events == once.events * 2
    assert all(head is not other for head in twice.heads[len(once.heads) :] for other in once.heads)


def test_half_a_request_after_a_kept_head_is_waited_for():
    recorder = feed(POST, POST[:-1], POST[-1:], POST)
    assert recorder.events == [(b"POST", b"/p", b"hello")] * 3


def test_the_phase_and_the_progress_follow_the_bytes():
    framing = RequestFraming(Recorder(), LIMITS)
    assert framing.phase is Phase.IDLE
    framing.receive(b"POST /p HTTP/1.1\r\nHost: x\r\nX:")
    begun = framing.progress
    assert framing.phase is Phase.HEAD
    framing.receive(b" y\r\nContent-Length: 3\r\n")
    assert framing.progress == begun  # dripping headers is not progress
    framing.receive(b"\r\n")
    assert framing.phase is Phase.BODY
    in_body = framing.progress
    framing.receive(b"a")
    assert framing.progress > in_body > begun
    framing.receive(b"bc")
    assert framing.phase is Phase.IDLE


def test_a_refusal_from_outside_ends_the_reading():
    recorder = Recorder()
    framing = RequestFraming(recorder, LIMITS)
    framing.receive(GET)
    framing.receive(POST[:-1])
    framing.refuse(408, "too late")
    framing.refuse(408, "again")
    framing.receive(POST[-1:] + GET)
    framing.receive(GET)
    assert recorder.events == [(b"GET", b"/v2", b""), (408, "too late")]
    assert framing.phase is Phase.IDLE


def test_a_closed_framing_leaves_no_cycle():
    framing = RequestFraming(Recorder(), LIMITS)
    framing.receive(GET)
    gone = weakref.ref(framing._receiver)
    gc.collect()
    gc.disable()
    try:
        framing.close()
        del framing
        assert gone() is None
    finally:
        gc.enable()


def test_an_offer_is_not_among_the_headers_and_the_rest_of_the_head_is():
    recorder = feed(b"POST /u HTTP/1.1\r\nX: y\r\n" + OFFER + b"Content-Length: 2\r\n\r\nok")
    assert recorder.heads[0].headers == {
        b"x": b"y",
        b"host": b"x",
        b"connection": b"HTTP2-Settings",
        b"http2-settings": b"AAMAAABkAAQAAP__",
        b"content-length": b"2",
    }
    assert recorder.heads[0].keep_alive


def test_trailers_never_act_as_headers():
    recorder = feed(CHUNKED + b"1\r\nh\r\n0\r\nContent-Encoding: gzip\r\nX: y\r\n\r\n")
    assert recorder.heads[0].headers == {b"host": b"x", b"transfer-encoding": b"chunked"}


def test_blanks_around_a_value_are_not_part_of_it():
    recorder = feed(b"GET /v2 HTTP/1.1\r\nHost: x\r\nX: \t y z \t \r\n\r\n")
    assert recorder.heads[0].headers[b"x"] == b"y z"


def test_a_method_that_nobody_knows_is_not_allowed():
    assert feed(b"BREW /v2 HTTP/1.1\r\nHost: x\r\n\r\n").events == [(405, "Method Not Allowed")]


@pytest.mark.parametrize("rest", [b"1;" + b"x" * 300, b"0\r\nT: " + b"u" * 300, b"0\r\n" + b"T" * 300], ids=repr)
def test_a_body_in_chunks_that_never_ends_is_refused(rest):
    for pieces in ([CHUNKED, rest], [CHUNKED, *singles(rest)]):
        ((status, message),) = feed(*pieces).events
        assert (status, message) == (431, "chunk extensions and trailers exceed 256 bytes")


SHARED = b"POST /shared HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.skipif(not AVAILABLE, reason="this system has no memfd")
@pytest.mark.parametrize("size", [(1 << 20) + 1, 5 << 20], ids=["just above", "far above"])
def test_a_large_body_that_may_be_shared_arrives_in_shared_memory(size: int) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    recorder = Recorder()
    framing = RequestFraming(recorder, RequestLimits())
    for piece in (SHARED % size, *(body[at : at + 65_536] for at in range(0, size, 65_536)), GET):
        framing.receive(piece)
    assert [type(each) for each in recorder.bodies] == [SharedBytes, bytes]
    assert recorder.events == [(b"POST", b"/shared", body), (b"GET", b"/v2", b"")]
    assert recorder.held == size


def test_a_body_that_may_not_be_shared_or_is_small_stays_private() -> None:
    recorder = Recorder()
    framing = RequestFraming(recorder, RequestLimits())
    for target, size in ((b"/other", 2 << 20), (b"/shared", 1 << 20)):
        head = (SHARED % size).replace(b"/shared", target)
        for piece in (head, bytes(size // 2), bytes(size // 2)):
            framing.receive(piece)
    assert [type(each) for each in recorder.bodies] == [bytearray, bytearray]


@pytest.mark.skipif(not AVAILABLE, reason="this system has no memfd")
def test_a_body_without_room_in_shared_memory_stays_private(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(size: int) -> int:
        raise OSError(size)

    monkeypatch.setattr(shared_bytes, "anonymous_memory", no_room)
    recorder = Recorder()
    framing = RequestFraming(recorder, RequestLimits())
    for piece in (SHARED % (3 << 20), bytes(2 << 20), bytes(1 << 20)):
        framing.receive(piece)
    assert recorder.events == [(b"POST", b"/shared", bytes(3 << 20))]


@pytest.mark.skipif(not AVAILABLE, reason="this system has no memfd")
def test_a_shared_body_that_no_longer_fits_into_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(_: SharedBytes, size: int) -> None:
        raise OSError(size)

    recorder = Recorder()
    framing = RequestFraming(recorder, RequestLimits())
    framing.receive(SHARED % (9 << 20))
    for _ in range(2):
        framing.receive(bytes(1 << 20))
    monkeypatch.setattr(SharedBytes, "resize", no_room)
    framing.receive(bytes(7 << 20))
    assert recorder.events == [(503, TOO_MUCH_HELD)]
