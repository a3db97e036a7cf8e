"""API keys over gRPC, with both engines: no RPC but the server's health answers without one."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial

import grpc
import numpy as np
import pytest
import tritonclient.grpc as client_module
from grpc_health.v1 import health_pb2

from slipway.api_keys import NO_KEY, WRONG_KEY, ApiKeys, key_digest
from slipway.config.options import parse_options
from slipway.rpc.listener import choose_engine
from slipway.rpc.options import GrpcOptions
from slipway.rpc.protection import OPEN_RPCS
from slipway.rpc.service import HEALTH_CHECK, INFERENCE_SERVICE, MODEL_INFER, MODEL_STREAM_INFER
from tests.rpc.conftest import ENGINES, serving
from tests.rpc.test_protection import PATHS, call

KEY = "sk-0pen.sesame"
BEARER = ("authorization", f"Bearer {KEY}")
CLOSED = [path for path in PATHS if path.rpartition("/")[2] not in OPEN_RPCS]
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


@pytest.fixture(scope="module", params=ENGINES)
def locked(request):
    """A server that needs a key."""
    if request.param == "native":
        pytest.importorskip("pygrpc_native", reason="the extra `fast` is not installed")
    options = GrpcOptions(grpc_port=0, grpc_engine=request.param, log_access=True)
    with serving(options, ApiKeys([key_digest("first"), key_digest(KEY)])) as running:
        yield running


@pytest.fixture(scope="module")
def channel(locked):
    with grpc.insecure_channel(locked.url) as channel:
        yield channel


def test_only_the_health_of_the_server_is_open():
    names = {path.rpartition("/")[2] for path in PATHS}
    assert names - {path.rpartition("/")[2] for path in CLOSED} == {"Check", "ServerLive", "ServerReady"} == OPEN_RPCS


@pytest.mark.parametrize("path", CLOSED)
def test_every_other_rpc_needs_a_key(channel, path):
    assert call(channel, path) == (UNAUTHENTICATED, NO_KEY)
    assert call(channel, path, ("authorization", "Bearer wrong")) == (UNAUTHENTICATED, WRONG_KEY)
    for metadata in (BEARER, ("authorization", f"bearer {KEY}"), ("x-api-key", "first")):
        assert call(channel, path, metadata)[0] is not UNAUTHENTICATED


def test_health_is_open(channel):
    assert call(channel, f"/{INFERENCE_SERVICE}/ServerLive") == (grpc.StatusCode.OK, "")
    assert call(channel, f"/{INFERENCE_SERVICE}/ServerReady", ("authorization", "no"))[0] is grpc.StatusCode.OK
    check = channel.unary_unary(
        HEALTH_CHECK,
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    assert check(health_pb2.HealthCheckRequest(), timeout=20).status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ([("authorization", KEY)], NO_KEY),
        ([("authorization", f"Basic {KEY}")], NO_KEY),
        ([("proxy-authorization", f"Bearer {KEY}")], NO_KEY),
        ([("x-api-key-bin", KEY.encode())], NO_KEY),
        ([("authorization-bin", b"Bearer " + KEY.encode())], NO_KEY),
        ([("api-key", KEY), ("cookie", f"x-api-key={KEY}")], NO_KEY),
        ([("triton-grpc-protocol-x-api-key", KEY)], NO_KEY),
        ([("x-api-key", "")], NO_KEY),
        ([("x-api-key", f"{KEY}, {KEY}")], WRONG_KEY),
        ([BEARER, BEARER], WRONG_KEY),
        ([("x-api-key", "x"), ("x-api-key", KEY)], WRONG_KEY),
        pytest.param([("x-api-key", "k" * 4000)], WRONG_KEY, id="long"),
    ],
)
def test_nothing_else_opens(channel, metadata, reason):
    for path in (MODEL_INFER, MODEL_STREAM_INFER, f"/{INFERENCE_SERVICE}/RepositoryModelUnload"):
        assert call(channel, path, *metadata) == (UNAUTHENTICATED, reason)


@pytest.mark.parametrize(
    "path",
    [
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/grpc.health.v1.Health/Watch",
        "/grpc.channelz.v1.Channelz/GetServers",
        "/inference.grpcinferenceservice/ServerLive",
        f"/{INFERENCE_SERVICE}/serverlive",
        f"/{INFERENCE_SERVICE}/ModelInfer/",
        f"//{INFERENCE_SERVICE}/ModelInfer",
        f"/{INFERENCE_SERVICE}/ServerLive/../ModelInfer",
        f"/{INFERENCE_SERVICE}/%4DodelInfer",
        "/other.Service/Check",
    ],
)
def test_no_other_path_is_served(channel, path):
    assert call(channel, path)[0] is grpc.StatusCode.UNIMPLEMENTED


def given():
    tensor = client_module.InferInput("INPUT0", [1, 1], "FP32")
    tensor.set_data_from_numpy(np.ones((1, 1), np.float32))
    return [tensor]


def test_requests_and_streams_with_a_key_are_answered(locked):
    before = len(locked.plane.requests)
    headers = dict([BEARER])
    with client_module.InferenceServerClient(locked.url) as client:
        assert client.infer("identity", given(), headers=headers).as_numpy("OUTPUT0").tolist() == [[1.0]]
        answers = []
        client.start_stream(lambda result, error: answers.append((result, error)), headers=headers)
        for _ in range(3):
            client.async_stream_infer("identity", given())
        client.stop_stream()
        assert [error for _, error in answers] == [None] * 3
        answers.clear()
        client.start_stream(lambda result, error: answers.append((result, error)))
        with suppress(client_module.InferenceServerException):  # the stream may have been refused by now
            client.async_stream_infer("identity", given())
        client.stop_stream()
        ((result, error),) = answers
        assert (result, error.status(), error.message()) == (None, "StatusCode.UNAUTHENTICATED", NO_KEY)
        with pytest.raises(client_module.InferenceServerException, match="requires an API key"):
            client.infer("identity", given())
    assert len(locked.plane.requests) == before + 4


def test_calls_at_the_same_time_are_judged_one_by_one(locked):
    with client_module.InferenceServerClient(locked.url) as client:
        results = []

        def note(number, result, error):
            results.append((number % 2, result is not None, error is None))

        for number in range(60):
            headers = dict([BEARER]) if number % 2 else {"x-api-key": "wrong"}
            client.async_infer("identity", given(), partial(note, number), headers=headers)
        locked.wait_until(lambda: len(results) == 60)
    assert sorted(results) == [(0, False, False)] * 30 + [(1, True, True)] * 30


def test_the_log_of_calls_shows_the_refusal_and_no_key(locked, channel, caplog):
    caplog.set_level(logging.INFO, "slipway")
    call(channel, MODEL_INFER, ("x-api-key", "wr0ng-key"))
    call(channel, MODEL_STREAM_INFER, ("x-api-key", "wr0ng-key"))
    call(channel, f"/{INFERENCE_SERVICE}/ServerMetadata", BEARER)
    locked.wait_until(lambda: len(caplog.records) >= 3)
    seen = [(record.fields["method"], record.fields["status"]) for record in caplog.records]
    assert seen == [
        (MODEL_INFER, "UNAUTHENTICATED"),
        (MODEL_STREAM_INFER, "UNAUTHENTICATED"),
        (f"/{INFERENCE_SERVICE}/ServerMetadata", "OK"),
    ]
    assert "wr0ng-key" not in caplog.text
    assert KEY not in caplog.text


def test_a_key_and_the_header_of_a_restricted_protocol_are_both_needed():
    parsed = parse_options(["models", "--grpc-restricted-protocol=inference,health:Admin-Key=open"], {})
    options = GrpcOptions(grpc_port=0, grpc_restricted_protocol=parsed.grpc_restricted_protocol)
    assert choose_engine(options)[0] == "asyncio"
    admin = ("triton-grpc-protocol-admin-key", "open")
    live = f"/{INFERENCE_SERVICE}/ServerLive"
    with serving(options, ApiKeys([key_digest(KEY)])) as running, grpc.insecure_channel(running.url) as channel:
        assert call(channel, MODEL_INFER, admin) == (UNAUTHENTICATED, NO_KEY)
        assert call(channel, MODEL_INFER, BEARER)[0] is grpc.StatusCode.UNAVAILABLE
        assert call(channel, MODEL_INFER, BEARER, admin)[0] not in (UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE)
        assert call(channel, live)[0] is grpc.StatusCode.UNAVAILABLE
        assert call(channel, live, admin)[0] is grpc.StatusCode.OK


def test_keys_are_not_forwarded_to_models():
    pytest.importorskip("re2", reason="the extra `headers` is not installed")
    parsed = parse_options(["models", "--grpc-header-forward-pattern=."], {})
    options = GrpcOptions(grpc_port=0, grpc_header_forward_pattern=parsed.grpc_header_forward_pattern)
    with (
        serving(options, ApiKeys([key_digest(KEY)])) as running,
        client_module.InferenceServerClient(running.url) as client,
    ):
        headers = {**dict([BEARER]), "x-api-key": KEY, "x-seen": "yes"}
        response = client.infer("identity", given(), headers=headers).get_response()
    assert response.parameters["x-seen"].string_param == "yes"
    assert not {"authorization", "x-api-key"} & set(response.parameters)
