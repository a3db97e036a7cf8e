"""ModelStreamInfer over real sockets, on both engines."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tritonclient.grpc as grpc_client
from tritonclient.grpc import service_pb2, service_pb2_grpc

from slipway.rpc import stream as stream_module


def infer_request(model, array, request_id, name="INPUT0", datatype="FP32", **flags):
    message = service_pb2.ModelInferRequest(model_name=model, id=request_id)
    message.inputs.add(name=name, datatype=datatype, shape=array.shape)
    message.raw_input_contents.append(array.tobytes())
    for key, value in flags.items():
        message.parameters[key].bool_param = value
    return message


def identity(request_id):
    return infer_request("identity", np.ones((1, 4), np.float32), request_id)


def late(delay, request_id):
    return infer_request("late", np.array([delay], np.float32), request_id)


def count(number, request_id, **flags):
    return infer_request("count", np.array([number], np.int32), request_id, "N", "INT32", **flags)


@pytest.fixture
def stub(server):
    with grpc.insecure_channel(server.url, [("grpc.max_receive_message_length", -1)]) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def ask(stub, *requests, metadata=None):
    return list(stub.ModelStreamInfer(iter(requests), timeout=30, metadata=metadata))


def is_final(answer):
    return answer.infer_response.parameters["triton_final_response"].bool_param


def test_answers_keep_the_order_of_the_requests(stub):
    answers = ask(stub, late(0.05, "slow"), identity("fast"), late(0.01, "middle"), identity("last"))
    assert [answer.infer_response.id for answer in answers] == ["slow", "fast", "middle", "last"]
    assert all(is_final(answer) for answer in answers)


def test_an_only_answer_whose_final_flag_comes_alone_is_the_final_one(stub):
    (answer,) = ask(stub, infer_request("early", np.ones(2, np.float32), "e"))
    assert (answer.infer_response.id, is_final(answer), answer.error_message) == ("e", True, "")


def test_a_model_that_answers_nothing_is_an_error(stub):
    (answer,) = ask(stub, infer_request("nothing", np.ones(2, np.float32), "n"))
    assert answer.error_message == "received an unexpected null response"


def test_answers_of_a_decoupled_model_overtake_a_slow_request(stub):
    answers = ask(stub, late(0.1, "slow"), count(3, "many"))
    assert [answer.infer_response.id for answer in answers] == ["many", "many", "many", "slow"]
    assert [is_final(answer) for answer in answers] == [False, False, False, True]


def test_two_decoupled_requests_interleave(stub):
    ids = [answer.infer_response.id for answer in ask(stub, count(200, "a"), count(200, "b"))]
    assert sorted(ids) == ["a"] * 200 + ["b"] * 200


def test_the_empty_final_answer_is_sent_only_when_asked_for(stub):
    assert ask(stub, count(0, "x")) == []
    (answer,) = ask(stub, count(0, "x", triton_enable_empty_final_response=True))
    assert is_final(answer)
    assert (answer.infer_response.model_name, answer.infer_response.id) == ("count", "x")
    assert not answer.infer_response.outputs


def test_an_error_of_execution_is_an_answer_with_id_and_model(stub):
    failed, after = ask(stub, infer_request("failing", np.ones(2, np.float32), "f"), identity("g"))
    assert failed.error_message == "boom"
    assert (failed.infer_response.id, failed.infer_response.model_name) == ("f", "failing")
    assert is_final(failed)
    assert after.error_message == ""


@pytest.mark.parametrize("count", [1, 100_000])
def test_strings_that_cannot_be_packed_are_an_error_of_their_request(stub, server, count):
    failed, after = ask(stub, infer_request("surrogate", np.ones(count, np.float32), "s"), identity("t"))
    assert (failed.error_message, failed.infer_response.id) == ("the response cannot be encoded", "s")
    assert (after.error_message, after.infer_response.id) == ("", "t")
    server.wait_until(lambda: server.listener.open_requests == 0)
    assert server.listener._budget.held == 0


def test_an_error_whose_text_utf_8_cannot_carry_is_sent_all_the_same(stub):
    failed, after = ask(stub, infer_request("halves", np.ones(2, np.float32), "h"), identity("i"))
    assert (failed.error_message, failed.infer_response.id) == ("b?m", "h")
    assert after.error_message == ""


def test_a_decoupled_error_ends_its_request(stub):
    (answer,) = ask(stub, count(-1, "d"))
    assert (answer.error_message, answer.infer_response.id, is_final(answer)) == ("bad n", "d", True)


def test_a_refused_request_is_an_answer_with_its_id_in_its_place(stub):
    reserved = identity("r")
    reserved.parameters["triton_x"].bool_param = True
    answers = ask(stub, late(0.02, "a"), infer_request("nope", np.ones(2, np.float32), "b"), reserved, identity("c"))
    assert [answer.infer_response.id for answer in answers] == ["a", "b", "r", "c"]
    assert answers[1] == service_pb2.ModelStreamInferResponse(
        error_message="Request for unknown model: 'nope' is not found",
        infer_response=service_pb2.ModelInferResponse(id="b"),
    )
    assert answers[2].error_message.startswith("parameter keys starting with 'triton_' are reserved for Triton usage.")


def test_with_triton_grpc_error_the_first_error_ends_the_stream_with_its_status(stub, server):
    held = infer_request("silent", np.ones(2, np.float32), "held")
    failing = infer_request("failing", np.ones(2, np.float32), "f")
    answers = stub.ModelStreamInfer(
        iter([identity("first"), held, failing]), timeout=30, metadata=(("triton_grpc_error", "true"),)
    )
    assert next(answers).infer_response.id == "first"
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "boom")
    server.wait_until(lambda: server.plane.cancelled == ["held"])


def test_bytes_that_are_not_a_message_end_the_stream(server):
    with grpc.insecure_channel(server.url) as channel:
        call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        with pytest.raises(grpc.RpcError) as caught:
            list(call(iter([b"\xff\xff\xff"]), timeout=20))
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INTERNAL, "Unable to parse request")


def test_cancelling_the_stream_cancels_its_requests(stub, server):
    stop = threading.Event()

    def requests():
        for name in ("s1", "s2"):
            yield infer_request("silent", np.ones(2, np.float32), name)
        stop.wait(20)

    call = stub.ModelStreamInfer(requests())
    server.wait_until(lambda: len(server.plane.held) == 2)
    call.cancel()
    stop.set()
    server.wait_until(lambda: sorted(server.plane.cancelled) == ["s1", "s2"])
    server.wait_until(lambda: server.listener._in_flight.count == 0)


def test_tritons_streaming_client_works_unmodified(server):
    answers = queue.SimpleQueue()
    with grpc_client.InferenceServerClient(server.url) as client:
        client.start_stream(callback=lambda result, error: answers.put((result, error)))
        given = grpc_client.InferInput("N", [1], "INT32")
        given.set_data_from_numpy(np.array([3], np.int32))
        client.async_stream_infer("count", [given], request_id="9", enable_empty_final_response=True)
        received = [answers.get(timeout=20) for _ in range(4)]
        client.stop_stream()
    assert all(error is None for _, error in received)
    assert [result.as_numpy("I").tolist() for result, _ in received[:3]] == [[0], [1], [2]]
    assert received[3][0].get_response().parameters["triton_final_response"].bool_param


def test_a_hundred_mixed_streams_get_all_their_answers(stub, server):
    def run(number):
        requests = [identity("a"), count(5, "b"), late(0.001, "c"), infer_request("nope", np.ones(1, np.float32), "d")]
        ids = [answer.infer_response.id for answer in ask(stub, *requests)]
        return sorted(ids) == ["a", "b", "b", "b", "b", "b", "c", "d"] and [i for i in ids if i != "b"] == list("acd")

    with ThreadPoolExecutor(25) as pool:
        assert all(pool.map(run, range(100)))
    server.wait_until(lambda: server.listener._in_flight.count == 0)


def test_a_client_that_does_not_read_ends_the_stream_of_an_endless_model(stub, server, monkeypatch):
    monkeypatch.setattr(stream_module, "LIMIT_BYTES", 32 * 2**20)
    call = stub.ModelStreamInfer(iter([infer_request("flood", np.array([0], np.int32), "f", "N", "INT32")]))
    server.wait_until(lambda: server.listener._in_flight.count == 0 and server.plane.produced > 0)
    # The responses produced fill the limit and the socket buffers; each has 1 MiB.
    assert server.plane.produced < 96
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_client_that_does_not_read_is_not_read_from_either(stub, server, monkeypatch):
    monkeypatch.setattr(stream_module, "PAUSE_BYTES", 2**20)
    array = np.ones((1, 2**18), np.float32)
    sent, release = [], threading.Event()

    def requests():
        for number in range(200):
            sent.append(number)
            yield infer_request("identity", array, str(number))

    call = stub.ModelStreamInfer(requests())
    server.wait_until(lambda: server.plane.requests)
    release.wait(0.5)  # long enough for all 200 if nothing stopped them
    assert len(server.plane.requests) < 100
    assert sum(1 for _ in call) == 200
