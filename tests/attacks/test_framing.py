"""Attacks 1-6: HTTP framing. Typed errors, a running process, bounded memory."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import time

import numpy as np
import pytest

from slipway.attack.compressed import bomb, broken_bodies
from slipway.attack.json_corpus import LYING_HEADER_LENGTHS
from tests.attacks.conftest import assert_refused, read_all

MIB = 2**20
REQUEST = {"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [1, 16], "data": [0.0] * 16}]}
BODY = json.dumps(REQUEST).encode()
BROKEN_BODIES = broken_bodies(BODY)
PATH = b"/v2/models/fp32/infer"
TWENTY_URLS = (
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/fp32",
    "/v2/models/fp32/ready",
    "/v2/models/fp32/config",
    "/v2/models/fp32/stats",
    "/v2/models/fp32/versions/1",
    "/v2/models/fp32/versions/1/ready",
    "/v2/models/fp32/versions/1/config",
    "/v2/models/fp32/versions/1/stats",
    "/v2/models/fp32/infer",
    "/v2/models/fp32/versions/1/infer",
    "/v2/models/fp32/generate",
    "/v2/models/fp32/generate_stream",
    "/v2/models/stats",
    "/v2/repository/index",
    "/v2/repository/models/fp32/load",
    "/v2/repository/models/fp32/unload",
    "/v2/nonsense",
)


def head(*lines: bytes, path: bytes = PATH) -> bytes:
    """Return the head of a POST request."""
    return b"\r\n".join([b"POST " + path + b" HTTP/1.1", b"Host: localhost", *lines, b"", b""])


def chunked(chunks: list[bytes]) -> bytes:
    """Return a chunked body."""
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


def status(raw: bytes) -> int:
    """Return the status of the first response in `raw`."""
    assert raw.startswith(b"HTTP/1.1 "), raw[:200]
    return int(raw[9:12])


def test_a_flood_of_tiny_chunks_is_refused_and_costs_no_memory(target):
    flood = head(b"Transfer-Encoding: chunked") + b"1\r\n \r\n" * 1_000_000
    target.send(flood)
    before = target.rss()
    for _ in range(20):
        answer = target.send(flood)
        assert status(answer) == 400
        assert b"65536 non-empty chunks" in answer
    assert target.rss() - before < 4 * MIB


def test_as_many_chunks_as_allowed_are_read(target):
    padding = b" " * (65536 - len(BODY))
    chunks = [bytes([byte]) for byte in BODY + padding]
    assert len(chunks) == 65536
    assert status(target.send(head(b"Transfer-Encoding: chunked", b"Connection: close") + chunked(chunks))) == 200


@pytest.mark.parametrize(
    "lines",
    [
        (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        (b"Content-Length: 5", b"Content-Length: 6"),
        (b"Content-Length: -1",),
        (b"Content-Length: 99999999999999999999999",),
        (b"Content-Length: abc",),
        (b"Transfer-Encoding: chunked, identity",),
        (b"Transfer-Encoding: nonsense",),
        (b"X-Nul: a\0b",),
        (b"Bad Header: x",),
        (b": empty",),
    ],
    ids=repr,
)
def test_ambiguous_framing_is_refused(target, lines):
    answer = target.send(head(*lines) + b"0\r\n\r\nGET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert status(answer) == 400
    assert answer.count(b"HTTP/1.1 ") == 1, "a smuggled second request was answered"


@pytest.mark.parametrize(
    "raw", [b"GET /v2\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"nonsense\r\n\r\n", b"GET /v2 HTTP/9.9\r\n\r\n"]
)
def test_what_is_not_http_is_refused(target, raw):
    answer = target.send(raw)
    assert not answer or status(answer) in (400, 505)


def test_a_header_of_a_megabyte_is_refused(target):
    before = target.rss()
    answer = target.send(b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nX-Big: " + b"a" * MIB + b"\r\n\r\n")
    assert not answer or status(answer) in (400, 431)
    assert target.rss() - before < 8 * MIB


def test_a_hundred_thousand_headers_are_refused(target):
    before = target.rss()
    answer = target.send(
        b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(100_000)) + b"\r\n"
    )
    assert not answer or status(answer) in (400, 431)
    assert target.rss() - before < 32 * MIB


def test_a_url_of_ten_megabytes_is_refused(target):
    before = target.rss()
    answer = target.send(b"GET /" + b"a" * (10 * MIB) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert not answer or status(answer) in (400, 404, 414, 431)
    assert target.rss() - before < 32 * MIB


def test_slow_and_idle_connections_do_not_keep_others_waiting(target):
    slow = [target.connect() for _ in range(200)]
    try:
        for number, connection in enumerate(slow):
            connection.sendall(
                b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nX: "
                if number % 2
                else head(b"Content-Length: 1000")
            )
        started = time.monotonic()
        for _ in range(20):
            assert target.ask("GET", "/v2/health/ready").status == 200
        assert time.monotonic() - started < 30
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.parametrize("length", LYING_HEADER_LENGTHS)
def test_a_lying_header_length_is_refused(target, length):
    blob = np.zeros(16, np.float32).tobytes()
    request = {"inputs": [{**REQUEST["inputs"][0], "data": None}]}
    del request["inputs"][0]["data"]
    request["inputs"][0]["parameters"] = {"binary_data_size": 64}
    assert_refused(target.infer("fp32", request, blob, Inference_Header_Content_Length=length))


def test_a_raw_request_to_a_model_of_two_inputs_is_refused(target):
    answer = target.ask("POST", "/v2/models/two/infer", b"\0" * 8, {"Inference-Header-Content-Length": "0"})
    assert_refused(answer, "Raw request must only have 1 input (found 1) to be deduced but got 2 inputs in")


@pytest.mark.parametrize("change", [-1, 1])
def test_a_byte_too_few_or_too_many_is_refused(target, change):
    entry = {"name": "INPUT0", "datatype": "FP32", "shape": [1, 16], "parameters": {"binary_data_size": 64}}
    assert_refused(target.infer("fp32", {"inputs": [entry]}, b"\0" * (64 + change)))


@pytest.mark.parametrize(("encoding", "expected"), [("br", 501), ("gzip, gzip", 501), ("nonsense", 501)])
def test_an_unknown_content_encoding_is_refused(target, encoding, expected):
    answer = target.infer("fp32", BODY, Content_Encoding=encoding)
    assert answer.status == expected
    assert answer.headers.get("Accept-Encoding") == "gzip, deflate"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_decompression_bomb_is_refused_before_it_unfolds(target, encoding):
    packed = bomb(encoding, 64)
    assert len(packed) < 2 * MIB
    target.infer("fp32", packed, Content_Encoding=encoding)
    before = target.rss()
    for _ in range(3):
        answer = target.infer("fp32", packed, Content_Encoding=encoding)
        assert_refused(answer, "exceeds the maximum allowed input size of 67108864 bytes. Use --http-max-input-size")
    assert target.rss() - before < 160 * MIB


@pytest.mark.parametrize("packed", BROKEN_BODIES.values(), ids=BROKEN_BODIES)
def test_broken_compression_is_refused(target, packed):
    answer = target.infer("fp32", packed, Content_Encoding="gzip")
    assert answer.status in (400, 500)
    assert answer.error


def test_garbage_after_the_compressed_body_is_refused(target):
    assert target.infer("fp32", gzip.compress(BODY) + b"garbage", Content_Encoding="gzip").status in (400, 500)


def test_expecting_to_continue_without_a_body_harms_nobody(target):
    with target.connect() as connection:
        connection.sendall(head(b"Content-Length: 10", b"Expect: 100-continue"))
        read_all(connection, 0.3)


def test_a_thousand_pipelined_requests_are_answered_in_order(target):
    one = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert target.send(one * 999 + last).count(b"HTTP/1.1 200") == 1000


@pytest.mark.parametrize("method", ["TRACE", "DELETE", "PATCH", "OPTIONS", "CONNECT"])
def test_other_methods_are_refused_on_every_route(target, method):
    for path in TWENTY_URLS:
        answer = target.send(
            b"%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % (method.encode(), path.encode())
        )
        assert not answer or status(answer) in (400, 404, 405), (path, answer)


def test_a_body_over_the_limit_is_refused_without_reading_it(target):
    before = target.rss()
    answer = target.send(head(b"Content-Length: %d" % (64 * MIB + 1)))
    assert status(answer) == 400
    assert b"exceeds the maximum allowed input size of 67108864 bytes" in answer
    assert target.rss() - before < 2 * MIB


def test_a_chunked_body_over_the_limit_is_refused(target):
    chunk = b"%x\r\n" % MIB + b" " * MIB + b"\r\n"
    before = target.rss()
    answer = target.send(head(b"Transfer-Encoding: chunked") + chunk * 70 + b"0\r\n\r\n")
    assert status(answer) == 400
    assert target.rss() - before < 160 * MIB


def test_resets_in_the_middle_of_a_body_leave_nothing_behind(target):
    for _ in range(200):
        with target.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(head(b"Content-Length: 100000") + b"{" * 1000)
