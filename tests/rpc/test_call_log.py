"""The access log of gRPC says how each call ended, also those that were refused or given up."""

from __future__ import annotations

import asyncio
import logging

import grpc
import pytest
from tritonclient.grpc import service_pb2

from slipway.config.options import parse_options
from slipway.rpc.call_log import logged_call
from slipway.rpc.options import GrpcOptions
from slipway.rpc.service import INFERENCE_SERVICE, MODEL_STREAM_INFER
from tests.rpc.conftest import serving

LOAD = f"/{INFERENCE_SERVICE}/RepositoryModelLoad"


@pytest.fixture
def log(caplog):
    """Return what was logged: (method, status) of each call."""
    caplog.set_level(logging.INFO, "slipway.access")
    return lambda: [(record.fields["method"], record.fields["status"]) for record in caplog.records]


@pytest.fixture
def server(log):
    parsed = parse_options(["models", "--grpc-restricted-protocol=model-repository:k=v"], {})
    options = GrpcOptions(grpc_port=0, log_access=True, grpc_restricted_protocol=parsed.grpc_restricted_protocol)
    with serving(options) as running:
        yield running


@pytest.fixture
def channel(server):
    with grpc.insecure_channel(server.url) as channel:
        yield channel


def stream(channel, request, *metadata):
    method = channel.stream_stream(
        MODEL_STREAM_INFER,
        request_serializer=service_pb2.ModelInferRequest.SerializeToString,
        response_deserializer=service_pb2.ModelStreamInferResponse.FromString,
    )
    return method(request, metadata=metadata, timeout=20)


def test_a_call_without_the_key_is_logged(server, channel, log):
    with pytest.raises(grpc.RpcError):
        channel.unary_unary(LOAD, request_serializer=bytes, response_deserializer=bytes)(b"", timeout=20)
    server.wait_until(log)
    assert log() == [(LOAD, "UNAVAILABLE")]


def test_a_stream_that_ends_with_an_error_is_logged_with_it(server, channel, log):
    request = service_pb2.ModelInferRequest(model_name="absent")
    with pytest.raises(grpc.RpcError):
        list(stream(channel, iter([request]), ("triton_grpc_error", "true")))
    server.wait_until(log)
    assert log() == [(MODEL_STREAM_INFER, "NOT_FOUND")]


def test_a_stream_that_ends_well_is_logged_as_such(server, channel, log):
    assert list(stream(channel, iter([]))) == []
    server.wait_until(log)
    assert log() == [(MODEL_STREAM_INFER, "OK")]


def test_a_stream_that_the_client_gives_up_is_logged_as_cancelled(server, channel, log):
    tensor = service_pb2.ModelInferRequest.InferInputTensor(name="INPUT0", datatype="FP32", shape=[1])
    tensor.contents.fp32_contents.append(1)
    open_stream = stream(channel, iter([service_pb2.ModelInferRequest(model_name="silent", inputs=[tensor])]))
    server.wait_until(lambda: server.listener.open_requests)
    open_stream.cancel()
    server.wait_until(log)
    assert log() == [(MODEL_STREAM_INFER, "CANCELLED")]


@pytest.mark.parametrize(
    ("error", "status"), [(asyncio.CancelledError(), "CANCELLED"), (ZeroDivisionError(), "INTERNAL")]
)
def test_a_call_that_ends_otherwise_is_not_logged_as_successful(log, error, status):
    async def answer():
        raise error

    with pytest.raises(type(error)):
        asyncio.run(logged_call(answer(), "", LOAD))
    assert log() == [(LOAD, status)]
