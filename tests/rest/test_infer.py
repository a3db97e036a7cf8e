"""Inference over HTTP with NVIDIA's own clients and with raw requests."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib

import numpy as np
import pytest
from tritonclient import http
from tritonclient.http import aio
from tritonclient.utils import InferenceServerException

ROWS = np.array([[1.0, 2.5], [3.0, 4.0]], np.float32)


def floats(array=ROWS, **parameters):
    tensor = http.InferInput("IN0", list(array.shape), "FP32")
    tensor.set_data_from_numpy(array, **parameters)
    return tensor


def infer_body(data=(1, 2.5), **members):
    entry = {"name": "IN0", "datatype": "FP32", "shape": [1, len(data)], "data": list(data)}
    return json.dumps({"inputs": [entry], **members}).encode()


@pytest.fixture
def client(served):
    with http.InferenceServerClient(served.url) as connected:
        yield connected


@pytest.mark.parametrize("model", ["echo", "later", "odd name é"])
@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_tensors_survive_in_every_form(client, model, binary_in, binary_out):
    outputs = [http.InferRequestedOutput("OUT0", binary_data=binary_out)]
    result = client.infer(model, [floats(binary_data=binary_in)], outputs=outputs, request_id="r1")
    assert result.get_response()["id"] == "r1"
    np.testing.assert_array_equal(result.as_numpy("OUT0"), ROWS)


@pytest.mark.parametrize("request_coding", [None, "gzip", "deflate"])
@pytest.mark.parametrize("answer_coding", [None, "gzip", "deflate"])
def test_both_directions_may_be_compressed(client, request_coding, answer_coding):
    result = client.infer(
        "echo",
        [floats()],
        request_compression_algorithm=request_coding,
        response_compression_algorithm=answer_coding,
    )
    np.testing.assert_array_equal(result.as_numpy("OUT0"), ROWS)


def test_a_large_tensor_survives_every_slow_lane(client):
    array = np.arange(600_000, dtype=np.float32).reshape(2, -1)
    for binary, coding in ((True, None), (False, None), (True, "gzip"), (False, "deflate")):
        result = client.infer(
            "echo",
            [floats(array, binary_data=binary)],
            outputs=[http.InferRequestedOutput("OUT0", binary_data=binary)],
            request_compression_algorithm=coding,
            response_compression_algorithm=coding,
        )
        np.testing.assert_array_equal(result.as_numpy("OUT0"), array)


def test_strings_and_numbers_travel_together(client):
    numbers = http.InferInput("IN0", [2], "INT32")
    numbers.set_data_from_numpy(np.array([1, 2], np.int32))
    texts = http.InferInput("IN1", [2], "BYTES")
    texts.set_data_from_numpy(np.array([b"a\0b", "é".encode()], np.object_))
    result = client.infer("pair", [numbers, texts])
    assert result.as_numpy("OUT0").tolist() == [1, 2]
    assert result.as_numpy("OUT1").tolist() == [b"a\0b", "é".encode()]


def test_classes_are_labelled(client):
    outputs = [http.InferRequestedOutput("OUT0", class_count=1)]
    result = client.infer("echo", [floats()], outputs=outputs)
    assert result.as_numpy("OUT0").tolist() == [[b"2.500000:1:dog"], [b"4.000000:1:dog"]]


def test_the_asyncio_client_has_many_requests_in_flight(served):
    async def run():
        async with aio.InferenceServerClient(served.url) as client:
            arrays = [np.full((1, 4), number, np.float32) for number in range(100)]
            results = await asyncio.gather(
                *(client.infer("later", [floats(array)], request_id=str(n)) for n, array in enumerate(arrays))
            )
            for number, result in enumerate(results):
                assert result.get_response()["id"] == str(number)
                assert result.as_numpy("OUT0").tolist() == [[number] * 4]

    asyncio.run(run())


def test_the_client_reads_every_other_answer(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("echo")
    assert not client.is_model_ready("never")
    assert client.get_server_metadata()["name"] == "triton"
    assert client.get_model_metadata("echo")["inputs"][0]["shape"] == [-1, -1]
    assert client.get_model_config("echo")["max_batch_size"] == 8
    assert client.get_inference_statistics("echo")["model_stats"][0]["name"] == "echo"
    assert client.get_model_repository_index()[0]["state"] == "READY"
    client.load_model("echo", config="{}", files={"file:1/a": b"b"})
    client.unload_model("echo", unload_dependents=True)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("nope", "Request for unknown model: 'nope' is not found"),
        ("fail", "the model said no"),
        ("count", "HTTP end point doesn't support models with decoupled transaction policy"),
    ],
)
def test_the_client_is_told_what_failed(client, model, message):
    with pytest.raises(InferenceServerException, match=message):
        client.infer(model, [floats()])


def test_a_raw_request_is_the_body_alone(served):
    answer = served.ask("POST", "/v2/models/echo/infer", ROWS.tobytes(), Inference_Header_Content_Length="0")
    size = int(answer.headers["Inference-Header-Content-Length"])
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert json.loads(answer.body[:size])["outputs"][0]["shape"] == [1, 4]
    assert answer.body[size:] == ROWS.tobytes()


@pytest.mark.parametrize("length", ["99999999999", "-1", "abc", "", "+1", "1_0", "9" * 5000])
def test_a_lying_header_length_is_refused(served, length):
    body = infer_body()
    answer = served.ask("POST", "/v2/models/echo/infer", body, Inference_Header_Content_Length=length)
    assert answer.status == 400
    assert f"inference header size should be in range (0, {len(body)}), got: {length[:64]}".encode() in answer.body


@pytest.mark.parametrize("coding", ["br", "gzip, gzip", "GZIP", ""])
def test_an_unknown_coding_is_refused_with_those_known(served, coding):
    answer = served.ask("POST", "/v2/models/echo/infer", infer_body(), Content_Encoding=coding)
    assert answer.status == 501
    assert answer.body == b'{"error":"Unsupported compression type"}'
    assert answer.headers["Accept-Encoding"] == "gzip, deflate"


def test_a_bomb_is_refused(small):
    answer = small.ask("POST", "/v2/models/echo/infer", gzip.compress(bytes(1 << 20)), Content_Encoding="gzip")
    assert answer.status == 400
    assert b"exceeds the maximum allowed input size of 4096 bytes" in answer.body


def test_a_compressed_answer_says_so(served):
    answer = served.ask("POST", "/v2/models/echo/infer", infer_body(), Accept_Encoding="deflate;q=0.9, gzip;q=0.1")
    assert answer.headers["Content-Encoding"] == "deflate"
    assert json.loads(zlib.decompress(answer.body))["model_name"] == "echo"


def test_an_error_is_not_compressed(served):
    answer = served.ask("POST", "/v2/models/nope/infer", infer_body(), Accept_Encoding="gzip")
    assert json.loads(answer.body)["error"]


def test_an_unknown_model_is_reported_before_what_is_wrong_with_the_body(served):
    assert served.ask("POST", "/v2/models/nope/infer", b"{").status == 404


def test_half_floats_are_refused_as_json_output(served):
    body = json.dumps(
        {"inputs": [{"name": "IN0", "datatype": "FP16", "shape": [1], "parameters": {"binary_data_size": 2}}]}
    ).encode()
    answer = served.ask("POST", "/v2/models/half/infer", body + b"\0\0", Inference_Header_Content_Length=str(len(body)))
    assert answer.status == 400
    assert b"sending FP16 data via JSON is not supported" in answer.body


def test_a_client_that_goes_away_cancels_its_request(served):
    body = infer_body()
    with served.connect() as connection:
        connection.sendall(
            b"POST /v2/models/never/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        while not served.plane.held:
            assert served.ask("GET", "/v2/health/live").status == 200
    while not served.plane.cancelled:
        assert served.ask("GET", "/v2/health/live").status == 200
    assert served.plane.held[0].cancelled


def test_a_generate_call_is_answered_flat(served):
    answer = served.ask("POST", "/v2/models/echo/generate", b'{"IN0":[1,2.5],"id":"r1","mine":true}')
    assert json.loads(answer.body) == {
        "id": "r1",
        "model_name": "echo",
        "model_version": "1",
        "mine": True,
        "OUT0": [1.0, 2.5],
    }


@pytest.mark.parametrize("count", [0, 2, 5])
def test_a_generate_call_needs_exactly_one_answer(served, count):
    answer = served.ask("POST", "/v2/models/count/generate", b'{"IN0":%d}' % count)
    assert answer.status in (400, 500)
    assert b"generate expects model to produce exactly 1 response" in answer.body or b"three" in answer.body


def test_a_stream_carries_every_answer_as_an_event(served):
    answer = served.ask("POST", "/v2/models/count/generate_stream", b'{"IN0":5}')
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    events = [json.loads(event.removeprefix("data: ")) for event in answer.body.decode().split("\n\n")[:-1]]
    assert [event.get("OUT0") or event["error"] for event in events] == [
        "answer 0",
        "answer 1",
        "answer 2",
        "three",
        "answer 4",
    ]


def test_a_stream_without_answers_is_empty(served):
    answer = served.ask("POST", "/v2/models/count/generate_stream", b'{"IN0":0}')
    assert (answer.status, answer.body) == (200, b"")


def test_the_first_answer_decides_the_status_of_a_stream(served):
    answer = served.ask("POST", "/v2/models/fail/generate_stream", b'{"IN0":0}')
    assert (answer.status, answer.body) == (400, b'data: {"error":"the model said no"}\n\n')


def test_generate_knows_no_compression(served):
    answer = served.ask("POST", "/v2/models/echo/generate", gzip.compress(b"{}"), Content_Encoding="gzip")
    assert (answer.status, answer.body) == (
        400,
        b'{"error":"Unsupported content-encoding, only \'identity\' is supported."}',
    )


def test_a_stream_to_an_old_client_ends_with_the_connection(served):
    body = b'{"IN0":2}'
    raw = served.send(
        b"POST /v2/models/count/generate_stream HTTP/1.0\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    head, _, rest = raw.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert rest.count(b"data: {") == 2
