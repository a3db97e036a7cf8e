"""Restricted APIs over HTTP: no spelling of a path, method or header gets around the key."""

from __future__ import annotations

import json

import pytest

from slipway.config.options import parse_options
from slipway.config.restrictions import GROUPS, by_group
from slipway.rest.app import build_app, find
from slipway.rest.context import RestOptions
from tests.rest.conftest import serve
from tests.rest.models import dataplane

REFUSED = b'{"error":"This API is restricted, expecting header \'Admin-Key\'"}'
INFER = json.dumps({"inputs": [{"name": "IN0", "shape": [1, 1], "datatype": "FP32", "data": [1]}]}).encode()
# Group -> (method, path, body) of every route that belongs to it.
ROUTES = {
    "health": [
        ("GET", "/v2/health/live", None),
        ("GET", "/v2/health/ready", None),
        ("GET", "/v2/models/echo/ready", None),
        ("GET", "/v2/models/echo/versions/1/ready", None),
    ],
    "metadata": [
        ("GET", "/v2", None),
        ("GET", "/v2?x=1", None),
        ("GET", "/v2/models/echo", None),
        ("GET", "/v2/models/%65cho/versions/1", None),
        ("GET", "/v2/models/a%2Fb", None),
    ],
    "inference": [
        ("POST", "/v2/models/echo/infer", INFER),
        ("POST", "/v2/models/echo/versions/1/infer", INFER),
        ("POST", "/v2/models/echo/generate", b'{"IN0": 1}'),
        ("POST", "/v2/models/echo/versions/1/generate", b'{"IN0": 1}'),
        ("POST", "/v2/models/count/generate_stream", b'{"IN0": 1}'),
    ],
    "model-config": [("GET", "/v2/models/echo/config", None), ("GET", "/v2/models/echo/versions/1/config", None)],
    "statistics": [
        ("GET", "/v2/models/stats", None),
        ("GET", "/v2/models/echo/stats", None),
        ("GET", "/v2/models/echo/versions/1/stats", None),
    ],
    "model-repository": [
        ("POST", "/v2/repository/index", b"{}"),
        ("POST", "/v2/repository/models/echo/load", b"{}"),
        ("POST", "/v2/repository/models/echo/unload", b"{}"),
        ("POST", "/v2/repository/somewhere/index", b"{}"),
        ("POST", "/v2/repository/somewhere/models/echo/load", b"{}"),
    ],
    "shared-memory": [
        ("GET", "/v2/systemsharedmemory/status", None),
        ("GET", "/v2/systemsharedmemory/region/a/status", None),
        ("POST", "/v2/systemsharedmemory/region/a/register", b"{}"),
        ("POST", "/v2/systemsharedmemory/unregister", b""),
        ("GET", "/v2/cudasharedmemory/status", None),
        ("POST", "/v2/cudasharedmemory/region/a/unregister", b""),
    ],
}


def options(*flags):
    parsed = parse_options(["models", *(f"--http-restricted-api={flag}" for flag in flags)], {})
    return RestOptions(restrictions=by_group(parsed.http_restricted_api))


@pytest.fixture(scope="module")
def locked():
    """A server whose every API needs the key."""
    plane = dataplane()
    with serve(plane, build_app(plane, options(f"{','.join(GROUPS)}:Admin-Key=op\u00e4n"))) as running:
        yield running


@pytest.fixture(scope="module")
def halves():
    """A server with inference and the repository restricted, by keys of their own."""
    plane = dataplane()
    with serve(plane, build_app(plane, options("inference:infer-key=a", "model-repository:admin-key=b"))) as running:
        yield running


EVERY = [(group, *route) for group, routes in ROUTES.items() for route in routes]


@pytest.mark.parametrize(("group", "method", "path", "body"), EVERY)
def test_every_route_needs_the_key_of_its_group(locked, group, method, path, body):
    answer = locked.ask(method, path, body)
    assert (answer.status, answer.body) == (403, REFUSED)
    assert answer.headers["Content-Type"] == "application/json"
    opened = locked.ask(method, path, body, admin_KEY="op\u00e4n".encode())
    assert opened.status != 403


EXPLAINED = json.dumps({"parameters": {"slipway_explain": True}, **json.loads(INFER)}).encode()


@pytest.mark.parametrize("group", ["statistics", "model-config"])
@pytest.mark.parametrize("by_header", [False, True])
def test_an_explained_request_needs_the_keys_of_what_it_would_show(group, by_header):
    plane = dataplane()
    with serve(plane, build_app(plane, options(f"{group}:Admin-Key=k"))) as running:
        body, asked = (INFER, {"slipway_explain": "true"}) if by_header else (EXPLAINED, {})
        refused = running.ask("POST", "/v2/models/echo/infer", body, **asked)
        assert (refused.status, refused.body) == (403, REFUSED)
        assert running.ask("POST", "/v2/models/echo/infer", body, admin_key="wrong", **asked).status == 403
        assert running.ask("POST", "/v2/models/echo/infer", body, admin_key="k", **asked).status == 200
        assert running.ask("POST", "/v2/models/echo/infer", INFER).status == 200
        generated = json.dumps({"IN0": 1, "slipway_explain": True}).encode()
        assert running.ask("POST", "/v2/models/echo/generate", generated).status == 403
        assert running.ask("POST", "/v2/models/echo/generate", b'{"IN0": 1}').status == 200


def test_where_nothing_is_explained_a_request_that_asks_is_refused():
    plane = dataplane()
    with serve(plane, build_app(plane, RestOptions(explains=False))) as running:
        refused = running.ask("POST", "/v2/models/echo/infer", EXPLAINED)
        assert refused.status == 501
        assert b"not supported on this port" in refused.body
        assert running.ask("POST", "/v2/models/echo/infer", INFER, slipway_explain="false").status == 200


@pytest.mark.parametrize(("group", "method", "path", "body"), EVERY)
def test_the_group_of_a_route_is_the_one_of_the_table(group, method, path, body):
    match = find(path.partition("?")[0].encode())
    assert match is not None
    assert (match.group, match.method) == (group, method.encode())


@pytest.mark.parametrize(
    "path",
    [
        "//v2/health/live",
        "/v2//health/live",
        "/v2/./health/live",
        "/v2/../v2/health/live",
        "/V2/health/live",
        "/v2/Health/live",
        "/v2/health/live/",
        "/v2%2Fhealth/live",
        "/%76%32/health/live",
        "/v2/models/echo/INFER",
        "/v2/models/echo/%69nfer",
        "/v2/models/echo//infer",
        "/v2/models/echo/versions//infer",
        "/v2/models/echo/versions/1/versions/1/infer",
        "/v2/models/echo/infer/",
        "/v2/models/echo/infer;x",
        "/v2/repository//models/echo/load",
        "/v1/models/echo:predict",
        "/invocations",
        "/ping",
        "/metrics",
        "*",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_other_spelling_of_a_path_leads_anywhere(locked, method, path):
    before = len(locked.plane.requests)
    sent = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
    status = locked.send(sent).split(b" ", 2)[1]
    assert status in (b"400", b"403", b"404", b"405")
    assert len(locked.plane.requests) == before


@pytest.mark.parametrize("value", ["", "opan", "OP\u00c4N", "op\u00e4n, op\u00e4n", "op\u00e4", "op\u00e4nn"])
def test_another_value_does_not_open(locked, value):
    assert locked.ask("GET", "/v2", Admin_Key=value.encode()).body == REFUSED


def test_a_key_that_is_sent_twice_does_not_open(locked):
    key = "Admin-Key: op\u00e4n\r\n".encode()
    sent = b"GET /v2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%b%b\r\n" % (key, key)
    assert locked.send(sent).startswith(b"HTTP/1.1 403 ")
    assert locked.send(sent.replace(key, b"", 1)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("header", ["X_HTTP_Method_Override", "X_Original_URL", "X_Rewrite_URL", "X_Forwarded_Prefix"])
def test_no_header_changes_the_method_or_the_path(halves, header):
    answer = halves.ask("GET", "/v2/health/live", **{header: "/v2/repository/index"})
    assert (answer.status, answer.body) == (200, b"")
    assert halves.ask("POST", "/v2/repository/index", b"{}", **{header: "GET"}).status == 403


@pytest.mark.parametrize("protocol", ["websocket", "h2c", "HTTP/2.0"])
def test_an_offer_of_another_protocol_does_not_open(locked, protocol):
    offer = f"Connection: Upgrade, close\r\nUpgrade: {protocol}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    answer = locked.send(f"GET /v2/models/echo HTTP/1.1\r\nHost: x\r\n{offer}\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("media", ["application/grpc-web+proto", "application/grpc"])
def test_grpc_is_not_served_on_this_port(locked, media):
    path = "/inference.GRPCInferenceService/ModelInfer"
    assert locked.ask("POST", path, b"\0\0\0\0\0", Content_Type=media).status == 404


def test_the_key_comes_before_the_method_and_the_body(halves):
    assert halves.ask("GET", "/v2/models/echo/infer").status == 403
    assert halves.ask("POST", "/v2/models/echo/infer", b"no json").status == 403
    assert halves.ask("GET", "/v2/models/echo/infer", infer_key="a").status == 405


def test_a_key_opens_only_its_own_groups(halves):
    assert halves.ask("GET", "/v2/models/echo").status == 200
    assert halves.ask("POST", "/v2/models/echo/infer", INFER, infer_key="a").status == 200
    refused = halves.ask("POST", "/v2/repository/index", b"{}", infer_key="a")
    assert refused.body == b'{"error":"This API is restricted, expecting header \'admin-key\'"}'
    assert halves.ask("POST", "/v2/repository/index", b"{}", admin_key="b").status == 200


def test_pipelined_requests_need_the_key_each(locked):
    key = "Admin-Key: op\u00e4n\r\n".encode()
    first = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n%b\r\n" % key
    second = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answers = locked.send(first + second)
    assert answers.count(b"HTTP/1.1 200 ") == 1
    assert answers.count(b"HTTP/1.1 403 ") == 1


def test_an_invalid_version_is_refused_as_without_restrictions(locked):
    answer = locked.ask("GET", "/v2/models/echo/versions/9223372036854775808")
    assert answer.status == 400
