"""The routes of SageMaker and Vertex AI answer as those of NVIDIA's tritonserver."""

from __future__ import annotations

import http.client
import json
import os
from contextlib import ExitStack
from unittest.mock import patch

import pytest

from benchmarks.reference import free_ports, reference_server
from benchmarks.serving import running_server
from tests.kits.repositories import write_config
from tests.reference.requirement import skipped_without_reference

IDENTITY = """import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        tensors = [pb_utils.get_input_tensor_by_name(request, "IN").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", tensor)]) for tensor in tensors]
"""
CONFIG = """backend: "python"
input { name: "IN" data_type: TYPE_INT32 dims: [ 2 ] }
output { name: "OUT" data_type: TYPE_INT32 dims: [ 2 ] }
"""
BODY = json.dumps({"inputs": [{"name": "IN", "shape": [2], "datatype": "INT32", "data": [2, 3]}]}).encode()
WRONG = BODY.replace(b'"IN"', b'"NO"')
HEAD = json.dumps(
    {
        "inputs": [{"name": "IN", "shape": [2], "datatype": "INT32", "parameters": {"binary_data_size": 8}}],
        "outputs": [{"name": "OUT", "parameters": {"binary_data": True}}],
    }
).encode()
BINARY = HEAD + b"\1\0\0\0\2\0\0\0"
SAGEMAKER = "application/vnd.sagemaker-triton.binary+json;json-header-size="
VERTEX = "application/vnd.vertex-ai-triton.binary+json;json-header-size="
REDIRECT = "X-Vertex-Ai-Triton-Redirect"
ENVIRONMENT = {
    "AIP_PREDICT_ROUTE": "/predict",
    "AIP_HEALTH_ROUTE": "/health",
    "SAGEMAKER_TRITON_DEFAULT_MODEL_NAME": "identity",
}
# Door, method, path, body, headers.
CASES = [
    ("sagemaker", "GET", "/ping", b"", {}),
    ("sagemaker", "POST", "/ping", b"", {}),
    ("sagemaker", "POST", "/invocations", BODY, {}),
    ("sagemaker", "POST", "/invocations", WRONG, {}),
    ("sagemaker", "POST", "/invocations", BODY, {"Content-Type": "application/json"}),
    ("sagemaker", "POST", "/invocations", BINARY, {"Content-Type": f"{SAGEMAKER}{len(HEAD)}"}),
    ("sagemaker", "POST", "/invocations", BINARY, {"Content-Type": f"{SAGEMAKER}{len(BINARY) + 1}"}),
    ("sagemaker", "POST", "/invocations", BINARY, {"Content-Type": f"{SAGEMAKER}-1"}),
    ("sagemaker", "POST", "/invocations", BINARY, {"Content-Type": f"x{SAGEMAKER}{len(HEAD)}"}),
    ("sagemaker", "GET", "/invocations", b"", {}),
    ("sagemaker", "GET", "/", b"", {}),
    ("sagemaker", "GET", "/v2", b"", {}),
    ("sagemaker", "GET", "//ping", b"", {}),
    ("sagemaker", "GET", "/models", b"", {}),
    ("sagemaker", "GET", "/models/", b"", {}),
    ("sagemaker", "PUT", "/models", b"", {}),
    ("vertex", "GET", "/health", b"", {}),
    ("vertex", "POST", "/health", b"", {}),
    ("vertex", "POST", "/predict", BODY, {}),
    ("vertex", "POST", "/predict", WRONG, {}),
    ("vertex", "GET", "/predict", b"", {}),
    ("vertex", "POST", "/predict", BINARY, {"Content-Type": f"{VERTEX}{len(HEAD)}"}),
    ("vertex", "POST", "/predict", BINARY, {"Content-Type": f"x{VERTEX}{len(HEAD)}"}),
    ("vertex", "POST", "/predict", BINARY, {"Content-Type": f"{VERTEX}{len(BINARY) + 1}"}),
    ("vertex", "GET", "/v2", b"", {}),
    ("vertex", "POST", "/predict/", BODY, {}),
    ("vertex", "GET", "/predict", b"", {REDIRECT: "v2"}),
    *(
        ("vertex", "POST", "/predict", body, {REDIRECT: target})
        for body, target in [
            (b"", "v2/health/live"),
            (b"", "v2/health/ready"),
            (b"", "v2/models/identity"),
            (b"", "v2/models/identity/ready"),
            (b"", "v2/models/identity/versions/1/ready"),
            (b"", "v2/models/absent/ready"),
            (b"", "v2/models/absent"),
            (BODY, "v2/models/identity/infer"),
            (BODY, "v2/models/identity/versions/1/infer"),
            (BODY, "v2/models/identity/versions/9/infer"),
            (BODY, "v2/models/identity/generate"),
            (b"", "v2/repository/index"),
            (b"", "v2/absent"),
            (b"", "/v2"),
            (b"", ""),
            (b"", "metrics/"),
        ]
    ),
]
# What only the status is compared of: tritonserver sends no text.
STATUS_CASES = [
    ("sagemaker", "GET", "/models/absent", b"", {}),
    ("sagemaker", "DELETE", "/models/absent", b"", {}),
    ("sagemaker", "POST", "/models/absent/invoke", BODY, {}),
    ("vertex", "POST", "/predict", b"", {REDIRECT: "v2"}),
    ("vertex", "POST", "/predict", b"", {REDIRECT: "metrics"}),
    ("vertex", "POST", "/predict", b"", {REDIRECT: "v2/models/identity/config"}),
    ("vertex", "POST", "/predict", b"", {REDIRECT: "v2/models/identity/stats"}),
    ("vertex", "POST", "/predict", b"", {REDIRECT: "v2/models/stats"}),
]
# Tritonserver 2.73 answers 403 here, as Slipway does; 2.51 passes the request on.
BLOCKED = [
    "v2/repository/models/identity/load",
    "v2/repository/models/identity/unload",
    "v2/systemsharedmemory/unregister",
    "v2/systemsharedmemory/region/a/register",
]


@pytest.fixture(scope="module")
def doors(tmp_path_factory):
    """Yield the ports of SageMaker and Vertex AI of Slipway and of the reference server."""
    root = tmp_path_factory.mktemp("platforms")
    (write_config(root / "models", "identity", CONFIG) / "model.py").write_text(IDENTITY)
    ports = free_ports(4)
    flags = ["--allow-sagemaker=true", "--allow-vertex-ai=true"]
    given = [
        [f"--sagemaker-port={sagemaker}", f"--vertex-ai-port={vertex}"] for sagemaker, vertex in (ports[:2], ports[2:])
    ]
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, ENVIRONMENT))
        with skipped_without_reference():
            stack.enter_context(reference_server(root / "models", root / "log", *flags, *given[1]))
        local = ["--sagemaker-address=127.0.0.1", "--vertex-ai-address=127.0.0.1"]
        stack.enter_context(running_server(root / "models", *flags, *given[0], *local))
        yield {"sagemaker": (ports[0], ports[2]), "vertex": (ports[1], ports[3])}


def ask(port, method, path, body, headers):
    """Return the status, the content type of a body with binary tensors, and the content of a response."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body or None, headers)
        response = connection.getresponse()
        text = response.read()
    finally:
        connection.close()
    kind, _, size = response.headers.get("Content-Type", "").partition("=")
    size = response.headers.get("Inference-Header-Content-Length", size)
    if size.isdigit():
        return response.status, kind, json.loads(text[: int(size)]), text[int(size) :]
    return response.status, json.loads(text) if text[:1] in (b"{", b"[") else text


@pytest.mark.parametrize(("door", "method", "path", "body", "headers"), CASES)
def test_a_platform_gets_the_same_answer(doors, door, method, path, body, headers):
    ours, theirs = (ask(port, method, path, body, headers) for port in doors[door])
    assert ours == theirs


@pytest.mark.parametrize(("door", "method", "path", "body", "headers"), STATUS_CASES)
def test_a_platform_gets_the_same_status(doors, door, method, path, body, headers):
    ours, theirs = (ask(port, method, path, body, headers)[0] for port in doors[door])
    assert ours == theirs


@pytest.mark.parametrize("target", BLOCKED)
def test_what_changes_the_server_is_blocked_as_by_newer_servers(doors, target):
    ours, theirs = (ask(port, "POST", "/predict", b"{}", {REDIRECT: target}) for port in doors["vertex"])
    assert ours == (403, b"")
    assert theirs[0] != 403
