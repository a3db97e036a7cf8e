"""No spelling of a request avoids a key, and nothing that a client names reaches a file, the log or a header as is."""

from __future__ import annotations

import json
import os
import re
import socket
from unittest.mock import patch

import grpc
import pytest

from benchmarks.serving import running_server
from tests.attacks.conftest import Target
from tests.kits.repositories import add_identity, write_config

SECRET = "d00r-s3cret"  # noqa: S105  of these tests
GROUPS = "health,metadata,inference,shared-memory,model-config,model-repository,statistics,trace"
PATHS = {
    "GET": (
        "/v2",
        "/v2/health/live",
        "/v2/models/identity",
        "/v2/models/identity/config",
        "/v2/models/identity/versions/1/stats",
        "/v2/systemsharedmemory/status",
        "/v2/trace/setting",
        "/v1/models",
        "/v1/models/identity:predict",
        "/info",
    ),
    "POST": (
        "/v2/models/identity/infer",
        "/v2/models/identity/versions/1/infer",
        "/v2/models/identity/generate",
        "/v2/repository/index",
        "/v2/repository/models/identity/load",
        "/v1/embeddings",
        "/v1/chat/completions",
        "/predict",
    ),
}
SPELLINGS = {
    "trailing_slash": lambda path: path + "/",
    "double_slash": lambda path: "/" + path,
    "inner_double_slash": lambda path: path[0] + path[1:].replace("/", "//", 1),
    "dot": lambda path: "/." + path,
    "dot_dot": lambda path: "/v2/.." + path,
    "upper_case": str.upper,
    "encoded_slash": lambda path: path[0] + path[1:].replace("/", "%2F"),
    "encoded_letter": lambda path: f"/%{ord(path[1]):x}{path[2:]}",
    "query": lambda path: path + "?key=" + SECRET,
    "fragment": lambda path: path + "#/metrics",
    "absolute": lambda path: "http://localhost" + path,
    "parameter": lambda path: path + ";x=1",
}
BODY = json.dumps({"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [1, 1], "data": [1]}]}).encode()
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
# The name of a model, which is the name of its folder, and what a metric must not make of it.
FORGED = 'forged",version="1"} 1\nevil_metric{model="x'
ESCAPE = "\x1b[31m"


@pytest.fixture(scope="module")
def doors(tmp_path_factory):
    root = tmp_path_factory.mktemp("doors")
    add_identity(root / "models")
    write_config(root / "models", "named", 'backend: "identity"\n').parent.rename(root / "models" / FORGED)
    config = 'backend: "identity"\ninput { name: "I" data_type: TYPE_FP32 dims: [ 1 ] }\n'
    config += 'output { name: "O" data_type: TYPE_FP32 dims: [ 1 ] }\n'
    (root / "models" / FORGED / "config.pbtxt").write_text(config)
    flags = [
        f"--http-restricted-api={GROUPS}:X-Key@env:KEY_OF_DOORS",
        f"--grpc-restricted-protocol={GROUPS},logging:X-Key@env:KEY_OF_DOORS",
        "--exit-on-error=false",
        "--log-verbose=2",
        "--log-access",
        f"--trace-config=triton,file={root / 'trace.json'}",
        "--trace-config=level=TIMESTAMPS",
        "--trace-config=rate=1",
    ]
    with patch.dict(os.environ, KEY_OF_DOORS=SECRET), running_server(root / "models", *flags) as server:
        yield server


@pytest.fixture
def target(doors):
    found = Target(doors.ports.http, doors.pid)
    yield found
    assert found.ask("GET", "/v2/health/live", headers={"X-Key": SECRET}).status == 200


def status_of(target: Target, method: str, path: str, *headers: bytes) -> int:
    """Return the status of a request that is sent exactly as it is."""
    body = BODY if method == "POST" else b""
    lines = (f"{method} {path} HTTP/1.1".encode(), b"Host: localhost", b"Content-Length: %d" % len(body), *headers)
    with target.connect() as connection:
        connection.sendall(b"\r\n".join((*lines, b"Connection: close", b"", body)))
        answer = connection.recv(65536)
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_spelling_of_a_path_avoids_its_key(target, spelling):
    for method, paths in PATHS.items():
        for path in paths:
            assert status_of(target, method, SPELLINGS[spelling](path)) in (400, 403, 404, 405), path


@pytest.mark.parametrize(
    "header",
    [
        "X-Key:",
        "X-Key: ",
        f"X-Key: {SECRET}x",
        f"X-Key: {SECRET},{SECRET}",
        f"X-Key: {SECRET}\r\nX-Key: {SECRET}",
        f"X-Key: wrong\r\nX-Key: {SECRET}",
        f"X-Key: {SECRET.upper()}",
        "X-Key: d00r-s3cre\u00fe",
        f"X_Key: {SECRET}",
        f"Authorization: {SECRET}",
        f"X-HTTP-Method-Override: GET\r\nX-Original-URL: /metrics\r\nX-Rewrite-URL: /metrics\r\nX-Api-Key: {SECRET}",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAA=",
    ],
    ids=range(12),
)
def test_only_the_key_opens_an_api(target, header):
    for method, paths in PATHS.items():
        for path in paths:
            assert status_of(target, method, path, header.encode("latin-1")) in (400, 403, 405), path


def test_the_key_opens_every_api(target):
    key = b"X-Key: " + SECRET.encode()
    for path in PATHS["GET"]:
        assert status_of(target, "GET", path, key) not in (403, 405), path
    for path in PATHS["POST"]:
        assert status_of(target, "POST", path, key) not in (403, 405), path


@pytest.mark.parametrize("path", ["/invocations", "/ping", "/metrics", "/v2/predict"])
def test_doors_that_are_not_open_are_not_there(target, path):
    assert target.ask("POST", path, BODY).status == 404
    assert target.ask("POST", path, BODY, {"X-Vertex-Ai-Triton-Redirect": "v2/repository/index"}).status == 404


def test_grpc_over_http_1_and_reflection_lead_nowhere(doors, target):
    for path in ("/inference.GRPCInferenceService/ModelInfer", REFLECTION):
        assert target.ask("POST", path, b"\0" * 5, {"Content-Type": "application/grpc-web+proto"}).status == 404
    with grpc.insecure_channel(doors.grpc) as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(REFLECTION)(b"", timeout=20)
    assert refused.value.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAVAILABLE)


def test_no_setting_names_a_file(target, tmp_path):
    file = tmp_path / "written"
    for path, name in (("/v2/logging", "log_file"), ("/v2/trace/setting", "trace_file")):
        answer = target.ask("POST", path, json.dumps({name: str(file)}).encode(), {"X-Key": SECRET})
        assert (answer.status // 100, str(file) in answer.error) == (4, False) or answer.status == 501
    target.infer("identity", BODY, X_Key=SECRET)
    assert not file.exists()


def test_no_configuration_shows_a_key(target):
    for path in ("/v2", "/v2/models/identity/config", "/v2/trace/setting", "/v2/logging"):
        answer = target.ask("GET", path, headers={"X-Key": SECRET})
        assert answer.status == 200
        assert SECRET.encode() not in answer.body


def test_a_name_forges_no_metric(doors, target):
    target.ask("POST", "/v2/models/absent%22%7D%201%0Aevil_metric/infer", BODY, {"X-Key": SECRET})
    text = Target(doors.ports.metrics, doors.pid).ask("GET", "/metrics").body.decode()
    line = re.compile(r'[a-zA-Z_:][\w:]*(\{(\w+="([^"\\\n]|\\["\\n])*",?)*\})? \S+')
    lines = [each for each in text.splitlines() if each and not each.startswith("#")]
    assert [each for each in lines if not line.fullmatch(each)] == []
    assert not any(each.startswith("evil_metric") for each in lines)


def test_a_client_forges_no_line_of_the_log_and_no_header(doors, target):
    mark = "forged-line"
    text = f"a\r\nI1130 00:00:00.000000 1 {mark}.py:1] {ESCAPE}x"
    body = json.loads(BODY) | {"id": text}
    answer = target.infer("identity", json.dumps(body).encode(), X_Key=SECRET, User_Agent=f"x {mark}")
    assert answer.status == 200
    assert json.loads(answer.body)["id"] == text
    assert target.infer("identity", BODY, X_Key=SECRET, User_Agent=f"x{ESCAPE}{mark}").status == 400
    assert not any(mark in name + value for name, value in answer.headers.items())
    path = "/v2/models/x%0D%0AI1130%20" + mark + "%1B%5B31m/infer"
    assert target.ask("POST", path, BODY, {"X-Key": SECRET}).status in (400, 404)
    load = "/v2/repository/models/x%0D%0AI1130%20" + mark + "%1B%5B31m/load"
    assert target.ask("POST", load, b"{}", {"X-Key": SECRET}).status // 100 in (4, 5)
    assert mark in doors.log
    assert ESCAPE not in doors.log
    assert not any(re.match(rf"I1130 (00:00:00|{mark})", line) for line in doors.log.splitlines())


def test_the_log_does_not_show_a_key(doors, target):
    assert status_of(target, "GET", f"/v2?key={SECRET}", b"X-Key: " + SECRET.encode()) == 200
    assert SECRET not in doors.log


def test_a_socket_that_says_nothing_learns_nothing(target):
    with target.connect() as connection:
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1024) == b""
