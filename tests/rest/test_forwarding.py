"""Headers become parameters of infer requests, with the rules of tritonserver, and of no others."""

from __future__ import annotations

import gzip
import json

import pytest

pytest.importorskip("re2", reason="the extra `headers` is not installed")

from slipway.config.header_pattern import HeaderPattern
from slipway.core.large_work import LARGE
from slipway.rest.app import build_app
from slipway.rest.connection import HttpLimits
from slipway.rest.context import RestOptions
from tests.rest.conftest import serve
from tests.rest.models import dataplane


@pytest.fixture(scope="module")
def forwarding():
    plane = dataplane()
    app = build_app(plane, RestOptions(forward=HeaderPattern("^x-|^(priority|triton_a)$")))
    with serve(plane, app, HttpLimits(keeps_spelling=True)) as running:
        yield running


def document(count: int = 1, **members: object) -> bytes:
    tensor = {"name": "IN0", "shape": [1, count], "datatype": "FP32", "data": [1] * count}
    return json.dumps({"inputs": [tensor], **members}).encode()


def parameters(answer) -> object:
    assert answer.status == 200, answer.body
    return json.loads(answer.body).get("parameters")


def test_names_keep_their_spelling(forwarding):
    answer = forwarding.ask("POST", "/v2/models/echo/infer", document(), X_Trace_ID="7", x_user="me", Other="no")
    assert parameters(answer) == {"X-Trace-ID": "7", "x-user": "me"}


def test_a_header_that_is_sent_twice_is_one_value(forwarding):
    body = document()
    head = b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-A: 1\r\nx-a: 2\r\n"
    answer = forwarding.send(head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["parameters"] == {"X-A": "1, 2"}


def test_a_header_replaces_a_parameter_of_the_request(forwarding):
    body = document(parameters={"x-a": 3, "kept": True})
    assert parameters(forwarding.ask("POST", "/v2/models/echo/infer", body, x_a="4")) == {"kept": True, "x-a": "4"}


def test_the_same_head_again_is_forwarded_again(forwarding):
    body = document()
    head = b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: a\r\nX-Case: 1\r\nContent-Length: %d\r\n\r\n" % len(body)
    with forwarding.connect() as connection:
        for _ in range(3):
            connection.sendall(head + body)
            assert b'"parameters":{"X-Case":"1"}' in connection.recv(65536)


def test_large_and_compressed_requests_too(forwarding):
    large = document(LARGE // 2)
    assert parameters(forwarding.ask("POST", "/v2/models/echo/infer", large, x_a="1")) == {"x-a": "1"}
    packed = gzip.compress(document())
    answer = forwarding.ask("POST", "/v2/models/echo/infer", packed, x_a="1", Content_Encoding="gzip")
    assert parameters(answer) == {"x-a": "1"}


@pytest.mark.parametrize("name", ["priority", "triton_a"])
def test_a_reserved_name_is_refused_and_counted(forwarding, name):
    forwarding.plane.rejected.clear()
    sent = document()
    head = f"POST /v2/models/echo/infer HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{name}: 1\r\n".encode()
    answer = forwarding.send(head + b"Content-Length: %d\r\n\r\n%b" % (len(sent), sent))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert f"Header '{name}' is reserved for Triton usage and cannot be forwarded.".encode() in answer
    assert forwarding.plane.rejected == ["echo"]


def test_a_value_that_is_not_utf8_is_refused(forwarding):
    answer = forwarding.ask("POST", "/v2/models/echo/infer", document(), X_A=b"\xff\xfe")
    assert (answer.status, json.loads(answer.body)["error"]) == (
        400,
        "Header 'X-A' is not UTF-8 and cannot be forwarded.",
    )


def test_generate_requests_get_none(forwarding):
    answer = forwarding.ask("POST", "/v2/models/text/generate", b'{"IN0": "a", "x-b": "c"}', X_A="1")
    assert json.loads(answer.body) == {"model_name": "text", "model_version": "1", "x-b": "c", "OUT0": "a"}


def test_without_a_pattern_there_are_no_parameters(served):
    assert parameters(served.ask("POST", "/v2/models/echo/infer", document(), X_A="1")) is None
