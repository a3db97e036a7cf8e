"""Restricted protocols, forwarded headers and renewed certificates over gRPC."""

from __future__ import annotations

import shutil
from functools import partial

import grpc
import numpy as np
import pytest
import tritonclient.grpc as client_module
from grpc_health.v1 import health_pb2
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from slipway.config.options import parse_options
from slipway.config.restrictions import GROUPS
from slipway.rpc.in_flight import InFlight
from slipway.rpc.listener import choose_engine
from slipway.rpc.options import GrpcOptions
from slipway.rpc.protection import RPC_GROUPS
from slipway.rpc.service import HEALTH_CHECK, INFERENCE_SERVICE, MODEL_INFER, MODEL_STREAM_INFER, Service
from tests.kits.certificates import write_certificates
from tests.rpc.conftest import serving
from tests.rpc.models import dataplane

METHODS = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
REFUSED = "This protocol is restricted, expecting header 'triton-grpc-protocol-Admin-Key'"
KEY = ("triton-grpc-protocol-admin-key", "open")


def options(*flags):
    parsed = parse_options(["models", *flags], {})
    return GrpcOptions(
        grpc_port=0,
        grpc_restricted_protocol=parsed.grpc_restricted_protocol,
        grpc_header_forward_pattern=parsed.grpc_header_forward_pattern,
    )


@pytest.fixture(scope="module")
def locked():
    """A channel to a server whose every protocol needs the key."""
    with (
        serving(options(f"--grpc-restricted-protocol={','.join(GROUPS)}:Admin-Key=open")) as running,
        grpc.insecure_channel(running.url) as channel,
    ):
        yield channel


def note(answers, result, error):
    """Keep what comes back on a stream."""
    answers.append(error or result)


@pytest.mark.parametrize("group", ["statistics", "model-config"])
def test_an_explained_request_needs_the_keys_of_what_it_would_show(group):
    with (
        serving(options(f"--grpc-restricted-protocol={group}:Admin-Key=open")) as running,
        client_module.InferenceServerClient(running.url) as client,
    ):
        tensor = client_module.InferInput("INPUT0", [1, 1], "FP32")
        tensor.set_data_from_numpy(np.ones((1, 1), np.float32))
        asked = {"slipway_explain": True}
        with pytest.raises(InferenceServerException, match=REFUSED) as refused:
            client.infer("identity", [tensor], parameters=asked)
        assert refused.value.status() == "StatusCode.UNAVAILABLE"
        client.infer("identity", [tensor])
        client.infer("identity", [tensor], parameters=asked, headers=dict([KEY]))
        for headers, parameters, text in (
            ({}, asked, REFUSED),
            ({"slipway-explain": "true"}, None, REFUSED),
            ({"slipway-explain": "perhaps"}, None, "the header 'slipway-explain' should be 'true' or 'false'"),
            ({"slipway-explain": "false"}, None, ""),
            ({"slipway-explain": "true", KEY[0]: KEY[1]}, asked, ""),
        ):
            answers = []
            client.start_stream(partial(note, answers), headers=headers)
            client.async_stream_infer("identity", [tensor], parameters=parameters)
            client.stop_stream()
            (given,) = answers
            assert isinstance(given, InferenceServerException) == bool(text)
            assert text in str(given)


def call(channel, path, *metadata):
    """Return the status and text of a call with an empty message."""
    kind = channel.stream_stream if path == MODEL_STREAM_INFER else channel.unary_unary
    method = kind(path, request_serializer=bytes, response_deserializer=bytes)
    try:
        if path == MODEL_STREAM_INFER:
            list(method(iter([b""]), metadata=metadata, timeout=20))
        else:
            method(b"", metadata=metadata, timeout=20)
    except grpc.RpcError as error:
        return error.code(), error.details()
    return grpc.StatusCode.OK, ""


PATHS = [HEALTH_CHECK, *(f"/{INFERENCE_SERVICE}/{method.name}" for method in METHODS)]


@pytest.mark.parametrize("path", PATHS)
def test_every_rpc_needs_the_key(locked, path):
    assert call(locked, path) == (grpc.StatusCode.UNAVAILABLE, REFUSED)
    assert call(locked, path, KEY)[1] != REFUSED


@pytest.mark.parametrize(
    "metadata",
    [
        [("admin-key", "open")],
        [(KEY[0], "")],
        [(KEY[0], "Open")],
        [(KEY[0], "open, open")],
        [KEY, KEY],
        [(KEY[0], "x"), KEY],
        [(f"{KEY[0]}-bin", b"open")],
    ],
)
def test_nothing_else_opens(locked, metadata):
    assert call(locked, MODEL_INFER, *metadata) == (grpc.StatusCode.UNAVAILABLE, REFUSED)
    assert call(locked, MODEL_STREAM_INFER, *metadata) == (grpc.StatusCode.UNAVAILABLE, REFUSED)


@pytest.mark.parametrize(
    "path",
    [
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/grpc.health.v1.Health/Watch",
        "/grpc.channelz.v1.Channelz/GetServers",
        "/inference.grpcinferenceservice/ModelInfer",
        f"/{INFERENCE_SERVICE}/modelinfer",
        f"/{INFERENCE_SERVICE}/ModelInfer/",
        f"//{INFERENCE_SERVICE}/ModelInfer",
        f"/{INFERENCE_SERVICE}/%4DodelInfer",
    ],
)
def test_no_other_path_is_served(locked, path):
    assert call(locked, path)[0] is grpc.StatusCode.UNIMPLEMENTED


def test_every_rpc_has_a_group():
    served = {MODEL_INFER, MODEL_STREAM_INFER, *Service(dataplane(), InFlight()).methods}
    assert {path.rpartition("/")[2] for path in served} == RPC_GROUPS.keys()
    assert set(RPC_GROUPS.values()) == set(GROUPS)


def test_other_groups_stay_open():
    with (
        serving(options("--grpc-restricted-protocol=model-repository:Admin-Key=open")) as running,
        grpc.insecure_channel(running.url) as channel,
    ):
        assert call(channel, f"/{INFERENCE_SERVICE}/ServerLive") == (grpc.StatusCode.OK, "")
        health = channel.unary_unary(
            HEALTH_CHECK,
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        assert health(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
        assert call(channel, f"/{INFERENCE_SERVICE}/RepositoryIndex") == (grpc.StatusCode.UNAVAILABLE, REFUSED)


def test_the_usual_engine_looks_at_metadata():
    restricted = options("--grpc-restricted-protocol=health:k=v")
    assert choose_engine(restricted)[0] == "asyncio"


@pytest.fixture(scope="module")
def forwarding():
    pytest.importorskip("re2", reason="the extra `headers` is not installed")
    flags = options("--grpc-header-forward-pattern=^x-|^timeout$")
    assert choose_engine(flags)[0] == "asyncio"
    with serving(flags) as running, client_module.InferenceServerClient(running.url) as connected:
        yield connected


def given(values=(1.0,)):
    tensor = client_module.InferInput("INPUT0", [1, len(values)], "FP32")
    tensor.set_data_from_numpy(np.array([values], np.float32))
    return [tensor]


def parameters(response):
    return {name: value.string_param for name, value in response.parameters.items()}


def test_metadata_becomes_parameters(forwarding):
    found = forwarding.infer("identity", given(), headers={"x-a": "1", "other": "2", "x-b-bin": b"3"})
    assert parameters(found.get_response()) == {"x-a": "1"}


def test_large_messages_too(forwarding):
    found = forwarding.infer("identity", given([1.0] * 200_000), headers={"x-a": "1"})
    assert parameters(found.get_response()) == {"x-a": "1"}


def test_every_request_of_a_stream_gets_them(forwarding):
    answers = []
    forwarding.start_stream(lambda result, error: answers.append((result, error)), headers={"x-a": "1"})
    for _ in range(2):
        forwarding.async_stream_infer("identity", given())
    forwarding.stop_stream()
    found = [parameters(result.get_response()) for result, _ in answers]
    assert [{**each, "triton_final_response": ""} for each in found] == [{"x-a": "1", "triton_final_response": ""}] * 2


def test_a_reserved_name_is_refused(forwarding):
    with pytest.raises(client_module.InferenceServerException) as caught:
        forwarding.infer("identity", given(), headers={"timeout": "1"})
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert caught.value.message() == "Header 'timeout' is reserved for Triton usage and cannot be forwarded."


def test_a_new_certificate_is_used_for_new_connections(tmp_path):
    made = write_certificates(tmp_path)
    (tmp_path / "tls").mkdir()
    files = {name: tmp_path / "tls" / name for name in ("tls.pem", "tls.key")}
    for name, path in files.items():
        shutil.copy(made / name.replace("tls", "server"), path)
    flags = GrpcOptions(
        grpc_port=0, grpc_use_ssl=True, grpc_server_cert=str(files["tls.pem"]), grpc_server_key=str(files["tls.key"])
    )
    with serving(flags) as running:
        assert live(running, made / "ca.pem")
        others = write_certificates(renewed(tmp_path))
        assert not live(running, others / "ca.pem")
        for name, path in files.items():
            shutil.copy(others / name.replace("tls", "server"), path)
        assert live(running, others / "ca.pem")
        assert not live(running, made / "ca.pem")


def renewed(folder):
    others = folder / "others"
    others.mkdir()
    return others


def live(running, authorities):
    credentials = grpc.ssl_channel_credentials(authorities.read_bytes())
    fresh = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(f"localhost:{running.port}", credentials, options=fresh) as channel:
        return call(channel, f"/{INFERENCE_SERVICE}/ServerLive")[0] is grpc.StatusCode.OK
