"""The bytes of responses, byte for byte."""

from __future__ import annotations

import pytest

from slipway.errors import Code
from slipway.rest.response import CLOSE, HTTP_STATUS, JSON, chunk, error_body, refusal, sized_head, streamed_head

HEADS = {
    "sized": (sized_head(200, JSON, 12), b"200 OK", (JSON, b"Content-Length: 12\r\n")),
    "the last": (
        sized_head(404, b"", 0, CLOSE),
        b"404 Not Found",
        (b"Content-Length: 0\r\nConnection: close\r\n",),
    ),
    "chunked": (
        streamed_head(200, JSON, chunked=True),
        b"200 OK",
        (JSON, b"Transfer-Encoding: chunked\r\n"),
    ),
    "ended by the connection": (
        streamed_head(200, JSON, CLOSE, chunked=False),
        b"200 OK",
        (JSON, b"Connection: close\r\n"),
    ),
}


@pytest.mark.parametrize(("head", "status", "lines"), HEADS.values(), ids=HEADS)
def test_a_head_is_a_status_line_and_headers(head, status, lines):
    assert head == b"HTTP/1.1 " + status + b"\r\n" + b"".join(lines) + b"\r\n"


def test_a_chunk_starts_with_its_size_in_hexadecimal():
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


def test_a_refusal_is_a_whole_response_that_ends_the_connection():
    head, _, body = refusal(431, "too large").partition(b"\r\n\r\n")
    assert head.splitlines() == [
        b"HTTP/1.1 431 Request Header Fields Too Large",
        b"Content-Type: application/json",
        b"Content-Length: 21",
        b"Connection: close",
    ]
    assert body == b'{"error":"too large"}'


def test_what_utf_8_cannot_say_is_replaced_in_an_error():
    assert error_body("a \ud800 b") == b'{"error":"a ? b"}'


def test_every_code_has_a_status():
    assert HTTP_STATUS.keys() == set(Code)
