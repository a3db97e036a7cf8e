"""ModelInfer over real sockets, with NVIDIA's own client, on both engines."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.grpc.aio as aio_client
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

MEGABYTE = 2**20


def tensor(array, name="INPUT0", datatype="FP32"):
    given = grpc_client.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array)
    return given


def floats(rows=1):
    return np.arange(16 * rows, dtype=np.float32).reshape(rows, 16)


def refused(call):
    with pytest.raises(InferenceServerException) as caught:
        call()
    return caught.value.status().removeprefix("StatusCode."), caught.value.message()


def ignore(result, error):
    """Ignore the response to a call that nobody waits for."""


def raw_call(server, method, payload, **options):
    with grpc.insecure_channel(server.url) as channel:
        return channel.unary_unary(method)(payload, timeout=20, **options)


def test_an_answer_carries_the_tensor_the_id_and_the_models_name(client):
    result = client.infer("identity", [tensor(floats(2))], request_id="seven")
    response = result.get_response()
    assert (response.id, response.model_name, response.model_version) == ("seven", "identity", "1")
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), floats(2))


def test_an_answer_that_comes_later_is_delivered(client):
    delay = np.array([0.01], np.float32)
    np.testing.assert_array_equal(client.infer("late", [tensor(delay)]).as_numpy("OUTPUT0"), delay)


def test_an_answer_whose_final_flag_comes_alone_is_delivered(client):
    pair = np.ones(2, np.float32)
    np.testing.assert_array_equal(client.infer("early", [tensor(pair)]).as_numpy("OUTPUT0"), pair)


def test_strings_keep_every_byte(client):
    words = np.array([b"", b"a\0b", "über".encode(), b"\xff\xfe"], object)
    result = client.infer("text", [tensor(words, "TEXT", "BYTES")])
    assert result.as_numpy("OUTPUT0").tolist() == words.tolist()


def test_half_precision_passes_unchanged(client):
    halves = np.array([0.5, -2, 65504], np.float16)
    np.testing.assert_array_equal(client.infer("half", [tensor(halves, "H", "FP16")]).as_numpy("OUTPUT0"), halves)


def test_parameters_reach_the_model_and_come_back_with_their_types(client):
    given = {"text": "ü", "whole": -3, "flag": True}
    response = client.infer("identity", [tensor(floats())], parameters=given).get_response()
    returned = {key: getattr(value, value.WhichOneof("parameter_choice")) for key, value in response.parameters.items()}
    assert returned == given


def test_reserved_parameters_become_fields_of_the_request(client, server):
    client.infer("identity", [tensor(floats())], sequence_id=5, sequence_start=True, priority=2, timeout=9)
    (request,) = server.plane.requests
    assert (request.correlation_id, request.flags, request.priority, request.timeout_us) == (5, 1, 2, 9)
    assert request.parameters == {}


def test_classification_returns_value_index_and_label(client):
    wanted = grpc_client.InferRequestedOutput("OUTPUT0", class_count=2)
    array = np.array([[0.25, 1.5, 0.5]], np.float32)
    result = client.infer("identity", [tensor(array)], outputs=[wanted]).as_numpy("OUTPUT0")
    assert result.tolist() == [[b"1.500000:1:one", b"0.500000:2:two"]]


def test_classification_of_strings_is_refused(client):
    wanted = grpc_client.InferRequestedOutput("OUTPUT0", class_count=2)
    words = tensor(np.array([b"a"], object), "TEXT", "BYTES")
    code, message = refused(lambda: client.infer("text", [words], outputs=[wanted]))
    assert code == "INVALID_ARGUMENT"
    assert "unsupported type 'BYTES'" in message


@pytest.mark.parametrize(
    ("model", "version", "code", "message"),
    [
        ("nope", "", "NOT_FOUND", "Request for unknown model: 'nope' is not found"),
        ("modèle\n", "", "NOT_FOUND", "Request for unknown model: 'modèle\n' is not found"),
        ("identity", "99", "NOT_FOUND", "Request for unknown model: 'identity' version 99 is not found"),
        (
            "identity",
            "abc",
            "INVALID_ARGUMENT",
            (
                "failed to get model version from specified version string 'abc' (details: stol), "
                "version should be an integral value > 0"
            ),
        ),
        ("failing", "", "INVALID_ARGUMENT", "boom"),
        ("halves", "", "INVALID_ARGUMENT", "b?m"),
        ("broken", "", "INTERNAL", "the response cannot be encoded"),
        ("nothing", "", "INTERNAL", "received an unexpected null response"),
        (
            "count",
            "",
            "UNIMPLEMENTED",
            "ModelInfer RPC doesn't support models with decoupled transaction policy",
        ),
    ],
)
def test_a_refusal_has_tritons_code_and_words(client, model, version, code, message):
    array = np.ones((1, 2), np.float32) if model == "identity" else np.ones(2, np.float32)
    given = [tensor(array)]
    assert refused(lambda: client.infer(model, given, model_version=version)) == (code, message)


@pytest.mark.parametrize("count", [1, 100_000])
def test_strings_that_cannot_be_packed_are_an_error(server, client, count):
    given = [tensor(np.ones(count, np.float32))]
    found = refused(lambda: client.infer("surrogate", given, client_timeout=20))
    assert found == ("INTERNAL", "the response cannot be encoded")
    server.wait_until(lambda: server.listener.open_requests == 0)
    assert server.listener._budget.held == 0


def test_a_request_that_cannot_be_decoded_is_counted_for_its_model(server, client):
    bad = grpc_client.InferInput("INPUT0", [1, 16], "FP32")
    code, message = refused(lambda: client.infer("identity", [bad]))
    assert code == "INVALID_ARGUMENT"
    assert message == "unable to find data for input tensor 'INPUT0' for model 'identity' in request."
    assert server.plane.rejected == ["identity"]


@pytest.mark.parametrize("payload", [b"\xff\xff\xff", b"\x0a\x02\xff\xfe", b"\x0a\x20abc", b"\x0a\xff" * 40_000])
def test_bytes_that_are_not_a_message_are_refused_and_the_server_lives(server, client, payload):
    with pytest.raises(grpc.RpcError) as caught:
        raw_call(server, "/inference.GRPCInferenceService/ModelInfer", payload)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert caught.value.details() == "Unable to parse request"
    assert client.is_server_live()


@pytest.mark.parametrize("method", ["/inference.GRPCInferenceService/Nope", "/x.Y/Z", "/grpc.health.v1.Health/Watch"])
def test_an_unknown_method_is_unimplemented(server, method):
    with pytest.raises(grpc.RpcError) as caught:
        raw_call(server, method, b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_message_of_64_megabytes_passes_both_ways(client):
    array = np.arange(16 * MEGABYTE, dtype=np.float32).reshape(1, -1)
    result = client.infer("identity", [tensor(array)])
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), array)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_a_compressed_request_is_accepted(client, engine, algorithm):
    if (engine, algorithm) == ("native", "deflate"):
        pytest.skip("pygrpc-native accepts only gzip, and refuses other codings with UNIMPLEMENTED")
    array = np.zeros((1, 100_000), np.float32)
    result = client.infer("identity", [tensor(array)], compression_algorithm=algorithm)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), array)


def test_a_million_empty_contents_are_refused_without_harm(client, server):
    message = service_pb2.ModelInferRequest(model_name="identity")
    message.inputs.add(name="INPUT0", datatype="FP32", shape=[1, 16])
    message.raw_input_contents.extend([b""] * 1_000_000)
    with grpc.insecure_channel(server.url) as channel, pytest.raises(grpc.RpcError) as caught:
        service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(message, timeout=20)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert client.is_server_live()


def test_a_megabyte_of_metadata_is_refused_and_the_server_lives(server, client):
    with pytest.raises(grpc.RpcError):
        raw_call(server, "/inference.GRPCInferenceService/ServerLive", b"", metadata=(("x", "y" * MEGABYTE),))
    assert client.is_server_live()


def test_cancelling_a_call_cancels_its_request(server, client):
    call = client.async_infer("silent", [tensor(np.ones(2, np.float32))], callback=ignore, request_id="c1")
    server.wait_until(lambda: server.plane.held)
    call.cancel()
    server.wait_until(lambda: server.plane.cancelled == ["c1"])
    assert client.is_server_live()


def test_a_deadline_that_passes_cancels_the_request(server, client):
    given = [tensor(np.ones(2, np.float32))]
    code, _ = refused(lambda: client.infer("silent", given, request_id="d1", client_timeout=0.2))
    assert code == "DEADLINE_EXCEEDED"
    server.wait_until(lambda: server.plane.cancelled == ["d1"])


def test_a_client_that_disappears_cancels_its_requests(server):
    client = grpc_client.InferenceServerClient(server.url)
    for name in ("e1", "e2"):
        given = [tensor(np.ones(2, np.float32))]
        client.async_infer("silent", given, callback=ignore, request_id=name)
    server.wait_until(lambda: len(server.plane.held) == 2)
    client.close()
    server.wait_until(lambda: sorted(server.plane.cancelled) == ["e1", "e2"])


def test_a_storm_of_cancellations_leaves_nothing_behind(server, client):
    given = [tensor(np.ones(2, np.float32))]
    calls = [client.async_infer("silent", given, callback=ignore) for _ in range(200)]
    for call in calls:
        call.cancel()
    server.wait_until(lambda: len(server.plane.cancelled) == len(server.plane.held))
    server.wait_until(lambda: server.listener._in_flight.count == 0)
    assert client.is_server_live()


def test_many_threads_get_each_their_own_answer(client):
    def ask(number):
        array = np.full((1, 4), number, np.float32)
        return client.infer("identity", [tensor(array)]).as_numpy("OUTPUT0")[0, 0] == number

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(400)))


def test_the_asyncio_client_works_unmodified(server):
    async def ask():
        async with aio_client.InferenceServerClient(server.url) as client:
            assert await client.is_server_ready()
            results = await asyncio.gather(*(client.infer("identity", [tensor(floats())]) for _ in range(50)))
            return [result.as_numpy("OUTPUT0").tolist() for result in results]

    assert asyncio.run(ask()) == [floats().tolist()] * 50
