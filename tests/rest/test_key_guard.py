"""API keys over HTTP: nothing but health answers without one, however a request is written."""

from __future__ import annotations

import json

import pytest

from slipway.api_keys import NO_KEY, WRONG_KEY, ApiKeys, key_digest
from slipway.config.options import parse_options
from slipway.config.restrictions import by_group
from slipway.rest.access_log import log_accesses
from slipway.rest.app import HEALTH_PATHS, build_app
from slipway.rest.connection import HttpLimits
from slipway.rest.context import RestOptions
from slipway.rest.key_guard import require_key
from slipway.rest.metrics import MetricsOptions, build_metrics_app, build_metrics_page
from slipway.rest.response import plain_envelope
from slipway.rest.sagemaker import PING_PATH, SagemakerSettings, build_sagemaker_app
from slipway.rest.vertex import VertexSettings, build_vertex_app
from tests.rest.conftest import serve
from tests.rest.models import dataplane
from tests.rest.test_restricted import EVERY, INFER

KEY = "sk-0pen.sesame"
BEARER = {"Authorization": f"Bearer {KEY}"}
CHALLENGE = 'Bearer realm="slipway"'
LIVE = "/v2/health/live"
INFER_PATH = "/v2/models/echo/infer"
# Everything that is not one of the two open paths, byte for byte.
CLOSED = [(method, path, body) for _, method, path, body in EVERY if path.encode() not in HEALTH_PATHS]


def keys(*names):
    return ApiKeys([key_digest(name) for name in names or (KEY,)])


def family(path):
    """Return the form of errors of a path: those under /v1 have one of their own."""

    def envelope(status, message, error):
        return status, json.dumps({"error": {"message": message, "cause": error}}).encode()

    return envelope if path.startswith(b"/v1/") else plain_envelope


@pytest.fixture(scope="module")
def locked():
    plane = dataplane()
    app = require_key(build_app(plane), keys(KEY, "second"), HEALTH_PATHS, family)
    with serve(plane, log_accesses(app)) as running:
        yield running


def refused(answer, reason=NO_KEY):
    challenge = CHALLENGE if reason == NO_KEY else f'{CHALLENGE}, error="invalid_token"'
    return (answer.status, json.loads(answer.body), answer.headers["WWW-Authenticate"]) == (
        401,
        {"error": reason},
        challenge,
    )


@pytest.mark.parametrize(("method", "path", "body"), CLOSED)
def test_every_route_but_health_needs_a_key(locked, method, path, body):
    before = len(locked.plane.requests)
    assert refused(locked.ask(method, path, body))
    assert refused(locked.ask(method, path, body, Authorization=f"Bearer {KEY}x"), WRONG_KEY)
    assert len(locked.plane.requests) == before
    assert locked.ask(method, path, body, Authorization=f"bearer {KEY}").status != 401
    assert locked.ask(method, path, body, X_API_KEY="second").status != 401


@pytest.mark.parametrize("path", [LIVE, "/v2/health/ready", f"{LIVE}?verbose=1"])
def test_health_is_open_with_any_header(locked, path):
    assert locked.ask("GET", path).status == 200
    assert locked.ask("GET", path, Authorization="Bearer wrong").status == 200
    assert locked.ask("POST", path).status == 405


@pytest.mark.parametrize(
    "path",
    [
        "//v2/health/live",
        "/v2//health/live",
        "/v2/./health/live",
        "/v2/health/../health/live",
        "/V2/health/live",
        "/v2/health/Live",
        "/v2/health/live/",
        "/v2/health/live/../../models/echo/infer",
        "/v2/health/live/..;/models/echo",
        "/v2/health/live;x",
        "/v2/health/live%2F..%2F..%2Fmodels%2Fecho",
        "/v2/health/live%00",
        "/v2/health/%6cive",
        "/v2/models/health/live",
        "/v2/models/echo/ready",
        "/v2/models/echo/versions/1/ready",
        "/v1/models",
        "/nowhere",
        "/",
        "/metrics",
        "/ping",
        "/docs",
        "/openapi.json",
        "*",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
def test_no_other_spelling_is_open(locked, method, path):
    sent = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
    answer = locked.send(sent)
    assert answer.split(b" ", 2)[1] in (b"401", b"400")
    assert b"Access-Control" not in answer


def test_head_is_refused_without_a_body(locked):
    answer = locked.send(b"HEAD /v2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert answer.endswith(b"\r\n\r\n")


def test_the_target_of_a_proxy_is_the_same_path(locked):
    for target, status in (("/v2/health/live", b"200"), ("/v2", b"401")):
        answer = locked.send(f"GET http://x{target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert answer.split(b" ", 2)[1] == status


@pytest.mark.parametrize(
    "headers",
    [
        {"X_Original_URL": LIVE, "X_Rewrite_URL": LIVE, "X_Forwarded_Path": LIVE, "X_Forwarded_Prefix": LIVE},
        {"X_HTTP_Method_Override": "GET", "X_Method_Override": "GET"},
        {"X_Forwarded_For": "127.0.0.1", "Forwarded": "for=127.0.0.1", "X_Real_IP": "127.0.0.1"},
        {"X_Forwarded_User": "admin", "X_Remote_User": "admin", "Remote_User": "admin"},
        {"Proxy_Authorization": f"Bearer {KEY}"},
        {"Cookie": f"authorization=Bearer {KEY}; x-api-key={KEY}"},
        {"X_API_Keys": KEY, "Api_Key": KEY, "X_Key": KEY},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": KEY},
        {"Connection": "close, authorization", "Upgrade_Insecure_Requests": "1"},
    ],
)
def test_no_other_header_opens(locked, headers):
    assert refused(locked.ask("POST", INFER_PATH, INFER, **headers))


@pytest.mark.parametrize("name", ["x_api_key", "x-api-key ", " x-api-key", "x-api-key\t"])
def test_a_name_that_is_nearly_the_header_does_not_open(locked, name):
    sent = f"GET /v2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{name}: {KEY}\r\n\r\n".encode()
    assert locked.send(sent).split(b" ", 2)[1] in (b"400", b"401")


@pytest.mark.parametrize("where", [f"?api_key={KEY}", f"?x-api-key={KEY}&authorization=Bearer%20{KEY}"])
def test_a_key_in_the_target_does_not_open(locked, where):
    assert refused(locked.ask("GET", f"/v2{where}"))


def test_a_header_that_is_sent_twice_does_not_open(locked):
    for line in (f"Authorization: Bearer {KEY}\r\n", f"x-api-key: {KEY}\r\n"):
        sent = f"GET /v2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{line}{line}\r\n".encode()
        assert locked.send(sent).startswith(b"HTTP/1.1 401 ")
        assert locked.send(sent.replace(line.encode(), b"", 1)).startswith(b"HTTP/1.1 200 ")


def test_a_key_in_a_trailer_does_not_open(locked):
    head = b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTrailer: x-api-key\r\n"
    body = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\nx-api-key: %b\r\n\r\n" % (
        len(INFER),
        INFER,
        KEY.encode(),
    )
    assert locked.send(head + body).startswith(b"HTTP/1.1 401 ")


def test_pipelined_requests_need_a_key_each(locked):
    first = f"GET /v2 HTTP/1.1\r\nHost: x\r\nx-api-key: {KEY}\r\n\r\n".encode()
    second = b"GET /v2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answers = locked.send(first + second)
    assert (answers.count(b"HTTP/1.1 200 "), answers.count(b"HTTP/1.1 401 ")) == (1, 1)


def test_a_key_that_is_taken_back_closes_open_connections_too(tmp_path):
    clock = [0.0]
    file = tmp_path / "keys"
    file.write_text(KEY)
    followed = ApiKeys([], file, lambda: clock[0])
    followed.load()
    plane = dataplane()
    sent = f"GET /v2 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nx-api-key: {KEY}\r\n\r\n".encode()
    with serve(plane, require_key(build_app(plane), followed)) as running, running.connect() as connection:
        for status in (b"200", b"200", b"401"):
            connection.sendall(sent)
            assert connection.recv(65536).split(b" ", 2)[1] == status
            if status == b"200" and clock[0]:
                file.write_text("another")
            clock[0] += 2


def test_a_family_of_routes_has_its_own_envelope(locked):
    answer = locked.ask("POST", "/v1/embeddings", b"{}")
    assert (answer.status, json.loads(answer.body)) == (401, {"error": {"message": NO_KEY, "cause": None}})
    assert answer.headers["WWW-Authenticate"] == CHALLENGE
    assert refused(locked.ask("POST", "/v10", b"{}"))


def test_a_preflight_of_a_web_page_gets_no_permission(locked):
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    answer = locked.ask("OPTIONS", INFER_PATH, Access_Control_Request_Headers="authorization", **headers)
    assert answer.status == 401
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_restricted_apis_still_need_their_header():
    parsed = parse_options(["models", "--http-restricted-api=inference,health:Admin-Key=admin"], {})
    plane = dataplane()
    app = build_app(plane, RestOptions(restrictions=by_group(parsed.http_restricted_api)))
    with serve(plane, require_key(app, keys(), HEALTH_PATHS)) as running:
        assert refused(running.ask("POST", INFER_PATH, INFER, Admin_Key="admin"))
        assert running.ask("POST", INFER_PATH, INFER, **BEARER).status == 403
        assert running.ask("POST", INFER_PATH, INFER, Admin_Key="admin", **BEARER).status == 200
        assert running.ask("GET", LIVE).status == 403
        assert running.ask("GET", LIVE, Admin_Key="admin").status == 200
        assert running.ask("GET", "/v2", **BEARER).status == 200


def test_keys_are_not_forwarded_to_models():
    pytest.importorskip("re2", reason="the extra `headers` is not installed")
    parsed = parse_options(["models", "--http-header-forward-pattern=."], {})
    pattern = parsed.http_header_forward_pattern.without({"Authorization", "x-api-key"})
    plane = dataplane()
    app = require_key(build_app(plane, RestOptions(forward=pattern)), keys())
    with serve(plane, app, HttpLimits(keeps_spelling=True)) as running:
        answer = running.ask("POST", INFER_PATH, INFER, X_Api_Key=KEY, X_Seen="yes", **BEARER)
    parameters = json.loads(answer.body)["parameters"]
    assert parameters["X-Seen"] == "yes"
    assert not {"authorization", "x-api-key"} & {name.lower() for name in parameters}


def test_platforms_open_only_their_health_route():
    plane = dataplane()
    sagemaker = build_sagemaker_app(plane, SagemakerSettings(model="echo"), lambda _: None)
    with serve(plane, require_key(sagemaker, keys(), {PING_PATH})) as running:
        assert running.ask("GET", "/ping").status == 200
        assert refused(running.ask("GET", "/ping/"))
        for method, path in (("POST", "/invocations"), ("GET", "/models"), ("POST", "/models/x/invoke")):
            assert refused(running.ask(method, path, b"{}"))
        assert running.ask("POST", "/invocations", INFER, **BEARER).status == 200
    page = build_metrics_page(plane, MetricsOptions())
    vertex = build_vertex_app(plane, VertexSettings("/predict", "/health", "echo"), page)
    with serve(plane, require_key(vertex, keys(), {b"/health"})) as running:
        assert running.ask("GET", "/health").status == 200
        for redirect in ({}, {"X-Vertex-Ai-Triton-Redirect": "v2/health/live"}):
            assert refused(running.ask("POST", "/predict", INFER, **redirect))
        assert refused(running.ask("POST", "/predict", b"", **{"X-Vertex-Ai-Triton-Redirect": "metrics"}))
        assert running.ask("POST", "/predict", INFER, **BEARER).status == 200


def test_metrics_may_need_a_key():
    plane = dataplane()
    with serve(plane, require_key(build_metrics_app(plane), keys())) as running:
        assert refused(running.ask("GET", "/metrics"))
        assert running.ask("GET", "/metrics", **BEARER).status == 200


def test_without_keys_the_handler_stands_alone():
    app = build_app(dataplane())
    assert require_key(app, None, HEALTH_PATHS) is app


def test_the_access_log_shows_the_refusal_and_no_key(locked, caplog):
    caplog.set_level("INFO")
    locked.ask("GET", "/v2/models/echo", Authorization="Bearer wr0ng-key")
    locked.ask("GET", "/v2", **BEARER)
    assert '"/v2/models/echo" 401 ' in caplog.text
    assert "wr0ng-key" not in caplog.text
    assert KEY not in caplog.text
