"""Every route answers what Triton answers, byte for byte where clients compare text."""

from __future__ import annotations

import base64
import json

import pytest

PAIR = (
    b'{"name":"pair","versions":["1"],"platform":"identity","inputs":[{"name":"IN0","datatype":"INT32","shape":[-1]},'
    b'{"name":"IN1","datatype":"BYTES","shape":[-1]}],"outputs":[{"name":"OUT0","datatype":"INT32","shape":[-1]},'
    b'{"name":"OUT1","datatype":"BYTES","shape":[-1]}]}'
)
UNUSED = (
    b'{"model_stats":[{"name":"echo","version":"1","last_inference":0,"inference_count":0,"execution_count":0,'
    b'"inference_stats":{"success":{"count":0,"ns":0},"fail":{"count":0,"ns":0},"queue":{"count":0,"ns":0},'
    b'"compute_input":{"count":0,"ns":0},"compute_infer":{"count":0,"ns":0},"compute_output":{"count":0,"ns":0},'
    b'"cache_hit":{"count":0,"ns":0},"cache_miss":{"count":0,"ns":0}},"response_stats":{},"batch_stats":[],'
    b'"memory_usage":[]}]}'
)
NOT_FOUND = b'{"error":"Not Found"}'
NOT_ALLOWED = b'{"error":"Method Not Allowed"}'
NO_SHARED_MEMORY = b"Client shared memory is disabled. Start the server with '--allow-client-shm=true' to enable."


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/v2", 200, b'{"name":"triton","version":"2.51.0","extensions":["classification","sequence"]}'),
        ("/v2?x=1", 200, b'{"name":"triton","version":"2.51.0","extensions":["classification","sequence"]}'),
        ("/v2/health/live", 200, b""),
        ("/v2/health/ready", 200, b""),
        ("/v2/models/pair", 200, PAIR),
        ("/v2/models/pair/versions/01", 200, PAIR),
        ("/v2/models/p%61ir", 200, PAIR),
        ("/v2/models/echo/stats", 200, UNUSED),
        ("/v2/models/echo/versions/1/stats", 200, UNUSED),
        ("/v2/models/echo/ready", 200, b""),
        ("/v2/models/odd%20name%20%C3%A9/ready", 200, b""),
        ("/v2/models/never/ready", 400, b'{"error":"Model version not ready"}'),
        ("/v2/models/nope/ready", 400, b'{"error":"Model version not ready"}'),
        ("/v2/models/echo/versions/9/ready", 400, b'{"error":"Model version not ready"}'),
        ("/v2/models/stats/ready", 400, b'{"error":"Model version not ready"}'),
        ("/v2/models/nope", 404, b'{"error":"Request for unknown model: \'nope\' is not found"}'),
        (
            "/v2/models/echo/versions/2",
            404,
            b'{"error":"Request for unknown model: \'echo\' version 2 is not found"}',
        ),
        ("/v2/models/nope/config", 404, b'{"error":"Request for unknown model: \'nope\' is not found"}'),
        (
            "/v2/models/echo/versions/9223372036854775808",
            400,
            (
                b'{"error":"failed to get model version from specified version string \'9223372036854775808\' '
                b'(details: stol), version should be an integral value > 0"}'
            ),
        ),
    ],
)
def test_a_path_answers(served, path, status, body):
    answer = served.ask("GET", path)
    assert (answer.status, answer.body) == (status, body)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v2/",
        "//v2",
        "/v2/./",
        "/V2",
        "/v2/models",
        "/v2/models/",
        "/v2/models//ready",
        "/v2/models/echo/",
        "/v2/models/echo/nonsense",
        "/v2/models/echo/versions",
        "/v2/models/echo/versions/",
        "/v2/models/echo/versions//ready",
        "/v2/models/echo/versions/x",
        "/v2/models/echo/versions/-1",
        "/v2/models/echo/versions/%D9%A1",
        "/v2/models/echo/infer/more",
        "/v2/health",
        "/v2/health/live/",
        "/v2/repository/models//load",
        "/metrics",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_any_other_path_is_not_found(served, method, path):
    answer = served.ask(method, path)
    assert (answer.status, answer.body) == (404, NOT_FOUND)
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["/v2", "/v2/health/live", "/v2/models/echo", "/v2/models/stats"])
def test_a_route_has_one_method(served, method, path):
    answer = served.ask(method, path)
    assert (answer.status, answer.body) == (405, NOT_ALLOWED)


def test_head_is_refused_without_a_body(served):
    answer = served.ask("HEAD", "/v2")
    assert (answer.status, answer.body) == (405, b"")


def test_a_server_that_is_not_ready_says_so(served):
    served.plane.is_ready = False
    assert served.ask("GET", "/v2/health/ready").status == 400


def test_the_configuration_is_tritons_json(served):
    config = json.loads(served.ask("GET", "/v2/models/echo/config").body)
    assert (config["name"], config["max_batch_size"]) == ("echo", 8)


def test_statistics_count_each_batch_size(served):
    body = json.dumps({"inputs": [{"name": "IN0", "datatype": "FP32", "shape": [2, 1], "data": [1, 2]}]}).encode()
    for _ in range(3):
        assert served.ask("POST", "/v2/models/echo/infer", body).status == 200
    (found,) = json.loads(served.ask("GET", "/v2/models/echo/stats").body)["model_stats"]
    assert (found["inference_count"], found["execution_count"]) == (6, 3)
    assert found["inference_stats"]["success"]["count"] == 3
    (batch,) = found["batch_stats"]
    assert list(batch) == ["batch_size", "compute_input", "compute_infer", "compute_output"]
    assert (batch["batch_size"], batch["compute_infer"]["count"]) == (2, 3)


def test_a_request_that_cannot_be_read_counts_as_failed(served):
    assert served.ask("POST", "/v2/models/echo/infer", b"{").status == 500
    assert served.ask("POST", "/v2/models/echo/generate", b"{").status == 500
    (found,) = json.loads(served.ask("GET", "/v2/models/echo/stats").body)["model_stats"]
    assert found["inference_stats"]["fail"]["count"] == 2


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            b"",
            (
                b'[{"name":"echo","version":"1","state":"READY"},'
                b'{"name":"broken","version":"1","state":"UNAVAILABLE","reason":"it does not load"},{"name":"bare"}]'
            ),
        ),
        (b'{"ready":true}', b'[{"name":"echo","version":"1","state":"READY"}]'),
    ],
)
def test_the_repository_index_leaves_out_what_is_empty(served, body, expected):
    assert served.ask("POST", "/v2/repository/index", body).body == expected


def test_a_model_is_loaded_with_its_configuration_and_files(served):
    parameters = {"config": "{}", "file:1/model.py": base64.b64encode(b"code").decode()}
    body = json.dumps({"parameters": parameters}).encode()
    assert served.ask("POST", "/v2/repository/models/a%20b/load", body).status == 200
    assert served.ask("POST", "/v2/repository/models/echo/load").status == 200
    assert served.plane.loaded == [("a b", "{}", {"1/model.py": b"code"}), ("echo", None, {})]


def test_a_large_file_of_a_model_is_loaded(served):
    code = bytes(range(256)) * 20_000
    body = json.dumps({"parameters": {"file:1/model.onnx": base64.b64encode(code).decode()}}).encode()
    assert served.ask("POST", "/v2/repository/models/m/load", body).status == 200
    assert served.plane.loaded == [("m", None, {"1/model.onnx": code})]


def test_a_large_request_that_is_no_upload_is_refused_in_its_own_words(served):
    body = b'{"x":"%b"}' % (b"x" * (3 << 20))
    found = served.ask("POST", "/v2/repository/index", body)
    assert found.status == 500
    assert b"the document is larger than 2097152 bytes" in found.body


def test_a_model_is_unloaded_with_its_dependents(served):
    body = b'{"parameters":{"unload_dependents":true}}'
    assert served.ask("POST", "/v2/repository/models/echo/unload", body).status == 200
    assert served.ask("POST", "/v2/repository/models/echo/unload").status == 200
    assert served.plane.unloaded == [("echo", True), ("echo", False)]


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("index", b"{", 500, b"failed to parse the request JSON buffer: "),
        ("index", b'{"ready":1}', 500, b"attempt to access JSON non-boolean as boolean"),
        ("index", b'{"ready":' + b"[" * 250_000, 400, b"JSON nesting depth exceeds maximum allowed limit (100)"),
        ("models/missing/load", b"", 400, b"failed to load 'missing', failed to poll from model repository"),
        ("models/m/load", b'{"parameters":{"config":1}}', 500, b"attempt to access JSON non-string as string"),
        ("models/m/load", b'{"parameters":{"foo":"x"}}', 500, b"unexpected error on creating Triton parameter"),
        ("models/m/load", b'{"parameters":[]}', 500, b"attempt to get members for non-object"),
        ("models/m/load", b'{"parameters":{"file:x":"%%%"}}', 400, b"failed to decode the base64 content"),
        ("models/m/unload", b'{"parameters":{"unload_dependents":1}}', 500, b"non-boolean as boolean"),
        ("elsewhere/models/m/load", b"", 501, b"'repository_name' specification is not supported"),
        ("elsewhere/index", b"", 501, b"'repository_name' specification is not supported"),
    ],
)
def test_repository_requests_that_make_no_sense_are_refused(served, path, body, status, message):
    answer = served.ask("POST", f"/v2/repository/{path}", body)
    assert answer.status == status
    assert message in answer.body


@pytest.mark.parametrize("kind", ["system", "cuda"])
def test_shared_memory_that_is_off_is_refused_with_how_to_turn_it_on(served, kind):
    for rest in ("unregister", "register", "region/r/unregister", "region/r/register"):
        answer = served.ask("POST", f"/v2/{kind}sharedmemory/{rest}")
        assert answer.status == 501
        assert NO_SHARED_MEMORY in answer.body
    answer = served.ask("GET", f"/v2/{kind}sharedmemory/status")
    assert (answer.status, answer.body) == (200, b"[]")


@pytest.mark.parametrize(
    "path", ["regions/r/status", "region//status", "region/r/remove", "region/r/a/status", "status/", "region/status"]
)
def test_paths_near_those_of_shared_memory_are_unknown(served, path):
    assert served.ask("GET", f"/v2/systemsharedmemory/{path}").status == 404
