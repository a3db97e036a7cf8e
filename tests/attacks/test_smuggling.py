"""Attacks on the borders between requests: what is in a body stays in it, alone and behind real proxies.

Every row of the table contains a request that unloads the model, where it is not a request or may not be one. The
access rule of the proxies forbids it, and to a client without a proxy it is a body.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.serving import running_server
from tests.attacks.conftest import CONFIG, Target, read_all
from tests.attacks.proxies import PROXIES, find

UNLOAD_PATH = b"/v2/repository/models/fp32/unload"
UNLOAD = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n" % UNLOAD_PATH
LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
WEBSOCKET = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
H2C = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__")
SIZED = b"Content-Length: %d" % len(UNLOAD)
CHUNKED = b"Transfer-Encoding: chunked"
OVERLONG = b"1" + b"0" * 16
STATUS = re.compile(rb"HTTP/1\.[01] ([2-5][0-9][0-9]) ")  # 100 Continue is not an answer


def post(*lines: bytes, body: bytes = UNLOAD, method: bytes = b"POST", version: bytes = b"1.1") -> bytes:
    """Return a request with header `lines`, whose body is the request to unload."""
    head = b"%b /v2/models/fp32/infer HTTP/%b" % (method, version)
    return b"\r\n".join([head, b"Host: localhost", *lines, b"", b""]) + body


def chunks(*extra: bytes, size: bytes = b"%x" % len(UNLOAD), trailers: bytes = b"") -> bytes:
    """Return the request to unload as a chunked body."""
    return b"".join([size, *extra, b"\r\n", UNLOAD, b"\r\n0\r\n", trailers, b"\r\n"])


@dataclass(frozen=True, slots=True)
class Row:
    """What a client sends, and how many requests that is. If the last one is `broken`, nothing after it is read."""

    data: bytes
    requests: int
    broken: bool = False


def whole(*requests: bytes) -> Row:
    """Return a row of valid requests, with one more that closes the connection."""
    return Row(b"".join(requests) + LAST, len(requests) + 1)


def broken(request: bytes) -> Row:
    """Return a row of a valid request and one whose end is in doubt, followed by one that must not be answered."""
    return Row(LIVE + request + LIVE, 2, broken=True)


ROWS = {
    "no body": whole(LIVE, LIVE),
    "sized": whole(post(SIZED)),
    "sized, twice": whole(post(SIZED), post(SIZED)),
    "sized GET": whole(post(SIZED, method=b"GET")),
    "in a chunk": whole(post(CHUNKED, body=chunks())),
    "in a chunk with an extension": whole(post(CHUNKED, body=chunks(b";x=y"))),
    "in a chunk, with upper-case digits and zeros": whole(post(CHUNKED, body=chunks(size=b"00%X" % len(UNLOAD)))),
    "websocket": whole(post(*WEBSOCKET, b"Content-Length: 0", body=b"", method=b"GET"), LIVE),
    "websocket, sized": whole(post(*WEBSOCKET, SIZED)),
    "websocket, sized GET": whole(post(*WEBSOCKET, SIZED, method=b"GET")),
    "websocket, in a chunk": whole(post(*WEBSOCKET, CHUNKED, body=chunks())),
    "h2c, sized": whole(post(*H2C, SIZED)),
    "h2c, in a chunk": whole(post(*H2C, CHUNKED, body=chunks())),
    "h2c, sized, twice": whole(post(*H2C, SIZED), post(*H2C, SIZED)),
    "upgrade without connection": whole(post(b"Upgrade: h2c", SIZED)),
    "connection without upgrade": whole(post(b"Connection: Upgrade", SIZED)),
    "trailers": whole(post(CHUNKED, body=chunks(trailers=b"X: y\r\n"))),
    "trailers that are headers of framing": broken(
        post(CHUNKED, body=chunks(trailers=b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"))
    ),
    "trailers that are headers of the protocol": whole(
        post(CHUNKED, body=chunks(trailers=b"Inference-Header-Content-Length: 1\r\nContent-Encoding: gzip\r\n"))
    ),
    "waiting to continue": whole(post(b"Expect: 100-continue", SIZED)),
    "the same length twice": broken(post(SIZED, SIZED)),
    "two lengths": broken(post(SIZED, b"Content-Length: 0")),
    "two lengths, the other order": broken(post(b"Content-Length: 0", SIZED)),
    "a list of lengths": broken(post(b"Content-Length: 0, %d" % len(UNLOAD))),
    "a length with a sign": broken(post(b"Content-Length: +%d" % len(UNLOAD))),
    "a negative length": broken(post(b"Content-Length: -1")),
    "a hexadecimal length": broken(post(b"Content-Length: 0x4")),
    "a length beyond 64 bits": broken(post(b"Content-Length: 18446744073709551617")),
    "an empty length": broken(post(b"Content-Length:")),
    "a length and chunks": broken(post(b"Content-Length: 5", CHUNKED, body=b"0\r\n\r\n" + UNLOAD)),
    "chunks and a length": broken(post(CHUNKED, SIZED, body=b"0\r\n\r\n" + UNLOAD)),
    "chunks, then identity": broken(post(b"Transfer-Encoding: chunked, identity")),
    "chunks twice": broken(post(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n" + UNLOAD)),
    "chunks in two headers": broken(post(CHUNKED, b"Transfer-Encoding: identity", body=b"0\r\n\r\n" + UNLOAD)),
    "another coding": broken(post(b"Transfer-Encoding: xchunked", SIZED)),
    "a coding after a vertical tab": broken(post(b"Transfer-Encoding: \x0bchunked", SIZED)),
    "a coding in quotes": broken(post(b'Transfer-Encoding: "chunked"', SIZED)),
    "a blank before the colon": broken(post(b"Transfer-Encoding : chunked", SIZED, body=b"0\r\n\r\n" + UNLOAD)),
    "a folded coding": broken(post(b"Transfer-Encoding:\r\n chunked", SIZED, body=b"0\r\n\r\n" + UNLOAD)),
    "a header that begins with a blank": broken(post(b" Transfer-Encoding: chunked", SIZED)),
    "a NUL in a header": broken(post(b"X: a\0b", SIZED)),
    "a bare CR in a header": broken(post(b"X: y\rTransfer-Encoding: chunked", SIZED)),
    "a chunk size with a prefix": broken(post(CHUNKED, body=chunks(size=b"0x%x" % len(UNLOAD)))),
    "a chunk size with a sign": broken(post(CHUNKED, body=chunks(size=b"+%x" % len(UNLOAD)))),
    "a negative chunk size": broken(post(CHUNKED, body=chunks(size=b"-1"))),
    "a chunk size beyond 64 bits": broken(post(CHUNKED, body=chunks(size=OVERLONG))),
    "an empty chunk size": broken(post(CHUNKED, body=chunks(size=b""))),
    "a chunk that is longer than its size": broken(post(CHUNKED, body=b"1\r\nab\r\n0\r\n\r\n" + UNLOAD)),
    "a chunk extension with a bare LF": broken(post(CHUNKED, body=b"1;x\na\r\n0\r\n\r\n" + UNLOAD)),
    "chunks in HTTP/1.0": Row(LIVE + post(CHUNKED, body=b"0\r\n\r\n" + UNLOAD, version=b"1.0"), 2, broken=True),
    "two hosts": broken(post(b"Host: other", SIZED)),
    "a tunnel": broken(b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n%b\r\n\r\n%b" % (SIZED, UNLOAD)),
    "another version": broken(post(SIZED, version=b"2.0")),
    "no version": broken(b"GET /v2\r\n" + UNLOAD),
}
PATHS = (
    UNLOAD_PATH,
    b"http://localhost" + UNLOAD_PATH,
    b"http://evil.example" + UNLOAD_PATH,
    b"HTTP://localhost:80" + UNLOAD_PATH,
    b"/v2//repository/models/fp32/unload",
    b"//v2/repository/models/fp32/unload",
    b"/v2/./repository/models/fp32/unload",
    b"/v2/models/../repository/models/fp32/unload",
    b"/v2/models/%2e%2e/repository/models/fp32/unload",
    b"/v2/%72epository/models/fp32/unload",
    b"/v2%2frepository/models/fp32/unload",
    b"/%76%32/repository/models/fp32/unload",
    b"/V2/Repository/models/fp32/unload",
    b"/v2;x/repository/models/fp32/unload",
    b"/v2\\repository\\models\\fp32\\unload",
    b"/v2/models/fp32/../../repository/models/fp32/unload",
    b"/v2/models/fp32%2f..%2f..%2frepository%2fmodels%2ffp32/unload",
    b"/v2/health/live?" + UNLOAD_PATH,
    b"/v2/health/live#" + UNLOAD_PATH,
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    models = tmp_path_factory.mktemp("smuggling") / "models"
    (models / "fp32" / "1").mkdir(parents=True)
    (models / "fp32" / "config.pbtxt").write_text(CONFIG.format(kind="TYPE_FP32", dims="16", batch=8))
    return models


@pytest.fixture(scope="module")
def behind(repository) -> Iterator[Target]:
    """Yield a server that lets clients unload its model."""
    with running_server(repository, "--model-control-mode=explicit", "--load-model=*") as running:
        yield Target(running.ports.http, running.pid)


@pytest.fixture(scope="module", params=PROXIES)
def proxy(request, behind, tmp_path_factory) -> Iterator[Target]:
    """Yield each proxy in front of the server."""
    if find(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    with PROXIES[request.param](tmp_path_factory.mktemp(request.param), behind.port) as port:
        yield Target(port, behind.pid)


def statuses(answers: bytes) -> list[int]:
    """Return the status of every answer."""
    return [int(status) for status in STATUS.findall(answers)]


def send_singly(target: Target, data: bytes) -> bytes:
    """Send `data` byte by byte, each in a packet of its own, and return all answers."""
    with target.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(data)):
            try:
                connection.sendall(data[at : at + 1])
            except (BrokenPipeError, ConnectionResetError):
                break
        return read_all(connection, 1.0)


def assert_loaded(behind: Target) -> None:
    """Assert that no request to unload the model was taken for one."""
    assert behind.ask("GET", "/v2/models/fp32/ready").status == 200, "the model was unloaded"


FEEDS = {"whole": Target.send, "byte by byte": send_singly}


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_body_never_becomes_a_request(behind, row, feed):
    answers = feed(behind, row.data)
    assert_loaded(behind)
    found = statuses(answers)
    assert len(found) == row.requests, answers
    assert not row.broken or found[-1] >= 400, answers


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_body_never_becomes_a_request_behind_a_proxy(proxy, behind, row, feed):
    answers = feed(proxy, row.data)
    assert_loaded(behind)
    found = statuses(answers)
    if row.broken:  # the proxy may repair it, take its body for a request and refuse that, or close without a word
        assert len(found) <= row.requests + 2, answers
    else:
        assert len(found) == row.requests, answers


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_no_way_to_write_the_path_passes_a_proxys_rule(proxy, behind, path):
    answers = proxy.send(UNLOAD.replace(UNLOAD_PATH, path) + LAST)
    assert_loaded(behind)
    assert statuses(answers)


def test_the_proxies_refuse_what_their_rule_forbids_and_pass_on_the_rest(proxy, behind):
    load = UNLOAD.replace(b"unload", b"load") + LAST
    assert statuses(behind.send(load)) == [200, 200]
    assert statuses(proxy.send(load)) == [403, 200]


@pytest.mark.parametrize("offer", [WEBSOCKET, H2C], ids=["websocket", "h2c"])
def test_three_thousand_offers_of_another_protocol_get_three_thousand_answers(behind, offer):
    assert statuses(send_and_read(behind, offers(offer, 3000))) == [200] * 3000


@pytest.mark.parametrize("offer", [WEBSOCKET, H2C], ids=["websocket", "h2c"])
def test_three_thousand_offers_get_three_thousand_answers_behind_a_proxy(proxy, offer):
    assert statuses(send_and_read(proxy, offers(offer, 3000))) == [200] * 3000


def offers(lines: tuple[bytes, ...], count: int) -> bytes:
    """Return pipelined requests that offer another protocol; the last one closes the connection."""
    one = b"\r\n".join([b"GET /v2/health/live HTTP/1.1", b"Host: localhost", *lines, b"", b""])
    return one * (count - 1) + LAST


def send_and_read(target: Target, data: bytes) -> bytes:
    """Send everything while reading the answers: a client that only sends would be made to wait."""
    with target.connect() as connection:
        sender = threading.Thread(target=connection.sendall, args=(data,))
        sender.start()
        answers = read_all(connection, 20.0)
        sender.join(20)
    return answers
