"""Restricted APIs and forwarded headers: answers and refusals are those of NVIDIA's tritonserver."""

from __future__ import annotations

import http.client
import json
import re
from contextlib import ExitStack

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from benchmarks.reference import CannotRunError, reference_server
from benchmarks.serving import running_server
from slipway.config.options import parse_options
from slipway.errors import SlipwayError
from tests.kits.repositories import write_config
from tests.reference.requirement import skipped_without_reference

ECHO = """import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor("PARAMETERS", np.array([request.parameters().encode()], np.object_))]
            )
            for request in requests
        ]
"""
CONFIG = """backend: "python"
input { name: "IN" data_type: TYPE_FP32 dims: [ 1 ] }
output { name: "PARAMETERS" data_type: TYPE_STRING dims: [ 1 ] }
"""
INFER = {"inputs": [{"name": "IN", "shape": [1], "datatype": "FP32", "data": [2]}]}
# Not health: the reference server is asked whether it is ready.
GROUPS = "metadata inference shared-memory model-config model-repository statistics trace logging".split()
PATHS = [
    ("GET", "/v2"),
    ("GET", "/v2/health/live"),
    ("GET", "/v2/health/ready"),
    ("GET", "/v2/models/echo"),
    ("GET", "/v2/models/echo/versions/1"),
    ("GET", "/v2/models/echo/ready"),
    ("GET", "/v2/models/echo/versions/1/ready"),
    ("GET", "/v2/models/echo/config"),
    ("POST", "/v2/models/echo/infer"),
    ("GET", "/v2/models/echo/infer"),
    ("POST", "/v2/models/echo/versions/1/infer"),
    ("POST", "/v2/models/absent/infer"),
    ("POST", "/v2/models/echo/generate"),
    ("POST", "/v2/repository/index"),
    ("GET", "/v2/repository/index"),
    ("POST", "/v2/repository/models/absent/load"),
    ("POST", "/v2/repository/models/absent/unload"),
    ("GET", "/v2/absent"),
    ("GET", "//v2"),
    ("GET", "/V2"),
    ("GET", "/v2/"),
]
SENT = [
    {},
    {"k": "secret"},
    {"K": "secret"},
    {"k": "Secret"},
    {"k": "secrets"},
    {"k": ""},
    {"kk": "secret"},
]
FORWARDED = [
    {"x-a": "1"},
    {"X-Case": "1", "x-case2": "2"},
    {"not-x-b": "3"},
    {"other": "4"},
    {"x-long": "v" * 4000},
]


def ask(port, method, path, headers):
    """Return the status and the content of a response."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        body = json.dumps(INFER).encode() if path.endswith(("infer", "predict", "invocations")) else b"{}"
        connection.request(method, path, body if method == "POST" else None, headers)
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text[:1] in (b"{", b"[") else text
    finally:
        connection.close()


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    (write_config(root, "echo", CONFIG) / "model.py").write_text(ECHO)
    return root


@pytest.fixture(scope="module")
def start(repository, tmp_path_factory):
    """Return what starts both servers with the same flags and returns their ports."""
    with ExitStack() as stack:

        def both(*flags):
            log = tmp_path_factory.mktemp("log") / "log"
            with skipped_without_reference():
                theirs, _ = stack.enter_context(reference_server(repository, log, *flags))
            return stack.enter_context(running_server(repository, *flags)).ports, theirs

        yield both


@pytest.fixture(scope="module")
def restricted(start):
    pytest.importorskip("re2", reason="the extra `headers` is not installed")
    return start(
        f"--http-restricted-api={','.join(GROUPS)}:k=secret",
        f"--grpc-restricted-protocol={','.join(['health', *GROUPS])}:k=secret",
        "--http-header-forward-pattern=x-",
        "--grpc-header-forward-pattern=x-",
    )


def comparable(path, answer):
    """Return an answer without what differs in every comparison: versions, extensions, fields of newer configs."""
    status, content = answer
    if path == "/v2" and isinstance(content, dict):
        content = {name: value for name, value in content.items() if name not in ("version", "extensions")}
    if path.endswith("/config") and status == 200:
        content = sorted(set(content) & {"name", "backend", "input", "output"})
    return status, content


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_restricted_apis_answer_alike(restricted, method, path):
    ours, theirs = restricted
    for headers in SENT:
        answers = [comparable(path, ask(ports.http, method, path, headers)) for ports in (ours, theirs)]
        assert answers[0] == answers[1], headers


@pytest.mark.parametrize("given", FORWARDED, ids=[next(iter(each)) for each in FORWARDED])
def test_headers_are_forwarded_alike(restricted, given):
    ours, theirs = restricted
    for path in ("/v2/models/echo/infer", "/v2/models/echo/versions/1/infer"):
        answers = [ask(ports.http, "POST", path, {"k": "secret", **given}) for ports in (ours, theirs)]
        assert answers[0] == answers[1]


def test_white_space_around_a_value_is_not_part_of_it(restricted):
    """RFC 9110, 5.5; tritonserver's library keeps it."""
    ours, theirs = (ask(ports.http, "GET", "/v2", {"k": "secret "})[0] for ports in restricted)
    assert (ours, theirs) == (200, 403)


def call(stub, name, metadata):
    message = {
        "ModelMetadata": service_pb2.ModelMetadataRequest(name="echo"),
        "ModelReady": service_pb2.ModelReadyRequest(name="echo"),
        "RepositoryModelLoad": service_pb2.RepositoryModelLoadRequest(model_name="absent"),
    }.get(name)
    if name == "ModelInfer":
        message = service_pb2.ModelInferRequest(model_name="echo")
        message.inputs.add(name="IN", datatype="FP32", shape=[1]).contents.fp32_contents.append(2)
    if message is None:
        message = getattr(service_pb2, f"{name}Request")()
    try:
        return getattr(stub, name)(message, metadata=metadata, timeout=60)
    except grpc.RpcError as error:
        return error.code(), error.details()


WORDS = re.compile(
    r"unknown restricted \w+ '\w+'|restricted \w+ '\w+' can not be .*|"
    r"--\S+ option format is '<config name>:<setting>=<value>'"
)
RPCS = "ServerLive ServerReady ModelReady ModelMetadata ModelInfer RepositoryModelLoad".split()


@pytest.mark.parametrize("name", RPCS)
def test_restricted_protocols_answer_alike(restricted, name):
    prefix = "triton-grpc-protocol-"
    sent = [[], [("k", "secret")], *([(f"{prefix}k", value)] for value in ("secret", "Secret", "secrets", ""))]
    with ExitStack() as stack:
        channels = [stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{ports.grpc}")) for ports in restricted]
        stubs = [service_pb2_grpc.GRPCInferenceServiceStub(channel) for channel in channels]
        for metadata in sent:
            answers = [call(stub, name, metadata) for stub in stubs]
            assert answers[0] == answers[1], metadata


@pytest.mark.parametrize("given", [each for each in FORWARDED if next(iter(each)).islower()])
def test_metadata_is_forwarded_alike(restricted, given):
    metadata = [("triton-grpc-protocol-k", "secret"), *given.items()]
    with ExitStack() as stack:
        channels = [stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{ports.grpc}")) for ports in restricted]
        stubs = [service_pb2_grpc.GRPCInferenceServiceStub(channel) for channel in channels]
        answers = [call(stub, "ModelInfer", metadata).raw_output_contents for stub in stubs]
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    "flags",
    [
        ["--http-restricted-api=helth:k=v"],
        ["--http-restricted-api=health:k=v", "--http-restricted-api=trace,health:l=w"],
        ["--http-restricted-api=health"],
        ["--http-restricted-api=health:k"],
        ["--http-restricted-api=:k=v"],
        ["--grpc-restricted-protocol=helth:k=v"],
        ["--grpc-restricted-protocol=health:k=v", "--grpc-restricted-protocol=health:k=v"],
    ],
    ids=str,
)
def test_mistakes_are_refused_with_the_same_words(repository, tmp_path, flags):
    with pytest.raises(CannotRunError) as theirs, reference_server(repository, tmp_path / "log", *flags):
        pass
    if "exited during start-up" not in str(theirs.value):
        pytest.skip(f"the reference server cannot run here: {theirs.value}")
    words = WORDS.search(str(theirs.value))
    assert words is not None
    with pytest.raises(SlipwayError) as ours:
        parse_options(["models", *flags])
    assert words[0] in ours.value.message
