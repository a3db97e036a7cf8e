"""Vertex AI's two routes, and what a redirection reaches."""

from __future__ import annotations

import json

import pytest

from slipway.config.options import parse_options
from slipway.config.restrictions import GROUPS, by_group
from slipway.engine.api import IndexEntry
from slipway.errors import SlipwayError
from slipway.rest.context import RestOptions
from slipway.rest.metrics import MetricsOptions, build_metrics_page
from slipway.rest.vertex import VertexSettings, build_vertex_app, vertex_settings
from tests.rest.conftest import serve
from tests.rest.models import dataplane

ROUTES = {"AIP_PREDICT_ROUTE": "/predict", "AIP_HEALTH_ROUTE": "/health"}
BODY = json.dumps({"inputs": [{"name": "IN0", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}).encode()
BINARY = "application/vnd.vertex-ai-triton.binary+json;json-header-size="
REDIRECT = "X_Vertex_Ai_Triton_Redirect"


def app(plane, options=None):
    settings = VertexSettings("/predict", "/health", "echo")
    return build_vertex_app(plane, settings, build_metrics_page(plane, MetricsOptions()), options)


@pytest.fixture(scope="module")
def vertex():
    plane = dataplane()
    with serve(plane, app(plane)) as running:
        yield running


@pytest.fixture(scope="module")
def locked():
    """A server whose every API needs the key."""
    plane = dataplane()
    flags = parse_options(["models", f"--http-restricted-api={','.join(GROUPS)}:key=open"], {})
    with serve(plane, app(plane, RestOptions(restrictions=by_group(flags.http_restricted_api)))) as running:
        yield running


def test_health_is_readiness(vertex):
    assert (vertex.ask("GET", "/health").status, vertex.ask("POST", "/health").status) == (200, 405)
    vertex.plane.is_ready = False
    assert vertex.ask("GET", "/health").status == 400
    vertex.plane.is_ready = True


def test_a_prediction_asks_the_default_model(vertex):
    answer = vertex.ask("POST", "/predict", BODY)
    assert json.loads(answer.body)["outputs"][0]["data"] == [1.0, 2.0]
    assert vertex.ask("GET", "/predict").status == 405


def test_a_redirection_leads_to_another_model(vertex):
    body = json.dumps({"inputs": [{"name": "IN0", "shape": [1], "datatype": "BYTES", "data": ["a"]}]}).encode()
    for target in ("v2/models/text/infer", "v2/models/text/versions/1/infer"):
        assert json.loads(vertex.ask("POST", "/predict", body, **{REDIRECT: target}).body)["model_name"] == "text"


@pytest.mark.parametrize(
    ("target", "part"),
    [
        ("v2", b'"name":"triton"'),
        ("v2/health/live", b""),
        ("v2/health/ready", b""),
        ("v2/models/echo", b'"platform":"identity"'),
        ("v2/models/echo/ready", b""),
        ("v2/models/echo/config", b'"name":"echo"'),
        ("v2/models/echo/stats", b'"inference_count"'),
        ("v2/models/stats", b'"inference_count"'),
        ("v2/repository/index", b'"state":"READY"'),
        ("metrics", b"# TYPE nv_inference_request_success counter"),
    ],
)
def test_a_redirection_has_the_method_of_its_target(vertex, target, part):
    answer = vertex.ask("POST", "/predict", b"", **{REDIRECT: target})
    assert answer.status == 200
    assert part in answer.body
    refused = vertex.ask("GET", "/predict", **{REDIRECT: target})
    assert (refused.status, refused.body) == (405, b"")


@pytest.mark.parametrize(
    "target",
    [
        "v2/repository/models/echo/load",
        "v2/repository/models/echo/unload",
        "v2/repository/somewhere/models/echo/load",
        "v2/systemsharedmemory/region/a/register",
        "v2/systemsharedmemory/unregister",
        "v2/cudasharedmemory/region/a/unregister",
    ],
)
def test_what_changes_the_server_is_out_of_reach(vertex, target):
    answer = vertex.ask("POST", "/predict", b"{}", **{REDIRECT: target})
    assert (answer.status, answer.body) == (403, b"")


@pytest.mark.parametrize(
    "target",
    [
        "",
        "/v2",
        "V2",
        "v2/",
        "v2?x=1",
        "v2/models/echo/generate",
        "v2/models/count/generate_stream",
        "v2/../v2",
        "v2%2Fmodels",
        "predict",
        "metrics/",
        "v2, v2",
        "http://localhost/v2",
    ],
)
def test_other_targets_are_bad_requests(vertex, target):
    answer = vertex.ask("POST", "/predict", b"{}", **{REDIRECT: target})
    assert (answer.status, answer.body) == (400, b"")


@pytest.mark.parametrize("path", ["/", "/v2", "/v2/health/live", "/predict/", "/Predict", "//predict", "/metrics"])
def test_other_paths_are_bad_requests(vertex, path):
    answer = vertex.ask("POST", path, b"")
    assert (answer.status, answer.body) == (400, b"")


def test_binary_tensors_of_a_request_have_the_size_in_the_content_type(vertex):
    head = json.dumps(
        {
            "inputs": [{"name": "IN0", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}],
            "outputs": [{"name": "OUT0", "parameters": {"binary_data": True}}],
        }
    ).encode()
    raw = b"\0\0\x80?\0\0\0@"
    for redirect in ({}, {REDIRECT: "v2/models/echo/infer"}):
        answer = vertex.ask("POST", "/predict", head + raw, Content_Type=f"{BINARY}{len(head)}", **redirect)
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.body[int(answer.headers["Inference-Header-Content-Length"]) :] == raw


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (f"text/{BINARY}5", "expect MIME type for binary data starts with"),
        (f"{BINARY}five", "Unable to parse inference header size, got: five"),
        (f"{BINARY}", "Unable to parse inference header size, got: "),
        (f"{BINARY}-1", f"inference header size should be in range (0, {len(BODY)}), got: -1"),
        (f"{BINARY}99999999999999999999", f"inference header size should be in range (0, {len(BODY)}), got: 9999"),
    ],
)
def test_a_size_that_is_wrong_is_named(vertex, given, message):
    answer = vertex.ask("POST", "/predict", BODY, Content_Type=given)
    assert answer.status == 400
    assert json.loads(answer.body)["error"].startswith(message)


def test_headers_of_the_other_form_are_ignored(vertex):
    answer = vertex.ask("POST", "/predict", BODY, Inference_Header_Content_Length="3", Accept_Encoding="gzip")
    assert json.loads(answer.body)["model_name"] == "echo"


@pytest.mark.parametrize(
    ("method", "path", "target"),
    [
        ("GET", "/health", None),
        ("POST", "/predict", None),
        ("GET", "/predict", None),
        *(
            ("POST", "/predict", target)
            for target in (
                "v2",
                "v2/health/live",
                "v2/models/echo",
                "v2/models/echo/infer",
                "v2/models/echo/versions/1/config",
                "v2/models/stats",
                "v2/repository/index",
                "v2/systemsharedmemory/status",
                "metrics",
            )
        ),
    ],
)
def test_every_way_needs_the_key(locked, method, path, target):
    redirect = {} if target is None else {REDIRECT: target}
    answer = locked.ask(method, path, BODY if method == "POST" else None, **redirect)
    assert (answer.status, json.loads(answer.body)["error"]) == (403, "This API is restricted, expecting header 'key'")
    assert locked.ask(method, path, BODY if method == "POST" else None, key="open", **redirect).status != 403


def test_the_settings_come_from_the_environment():
    plane = dataplane()
    plane._index = (IndexEntry("echo", "1", "READY"), IndexEntry("echo", "2", "READY"))
    assert vertex_settings(plane, "", ROUTES) == VertexSettings("/predict", "/health", "echo")
    plane._index = (IndexEntry("echo", "1", "READY"), IndexEntry("text", "1", "READY"))
    assert vertex_settings(plane, "text", ROUTES).model == "text"


@pytest.mark.parametrize(
    ("model", "missing", "message"),
    [
        ("", "AIP_PREDICT_ROUTE", "API_PREDICT_ROUTE is not defined for Vertex AI endpoint"),
        ("", "AIP_HEALTH_ROUTE", "AIP_HEALTH_ROUTE is not defined for Vertex AI endpoint"),
        (
            "",
            "",
            "Expect the model repository contains only a single model if default model is not specified",
        ),
        ("absent", "", "Expect the default model 'absent' is loaded"),
    ],
)
def test_what_is_missing_is_named(model, missing, message):
    plane = dataplane()
    plane._index = (IndexEntry("echo", "1", "READY"), IndexEntry("text", "1", "READY"))
    environment = {name: route for name, route in ROUTES.items() if name != missing}
    with pytest.raises(SlipwayError) as caught:
        vertex_settings(plane, model, environment)
    assert caught.value.message == message
