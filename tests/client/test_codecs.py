"""What a client writes is what the server reads, and the other way round, over both protocols."""

from __future__ import annotations

from contextlib import contextmanager

import ml_dtypes
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from slipway.client.grpc_codec import GrpcCodec
from slipway.client.http_codec import HttpCodec
from slipway.client.messages import Incoming, ModelInfo, TensorInfo
from slipway.client.result import InferResult
from slipway.core.request import InferRequest, InferResponse
from slipway.core.signature import ModelSignature, TensorSpec
from slipway.core.tensor import Tensor
from slipway.errors import Code, SlipwayError
from slipway.wire.encode import encode_infer
from slipway.wire.infer_request import ResponseEncoding, decode_infer
from slipway.wire.protobuf_request import decode_request, parse_request
from slipway.wire.protobuf_response import encode_response, encode_stream_response

ARRAYS = {
    "f": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.array([1.5], ml_dtypes.bfloat16),
    "s": np.array([["ä"], [b"\xff"]], object),
    "e": np.zeros((0, 2), np.int8),
    "t": np.array([True]),
}


def request(**fields):
    tensors = {name: Tensor.from_array(name, array) for name, array in ARRAYS.items()}
    return InferRequest("a/m", "2", "id", tensors, **fields)


def over_http(asked):
    outgoing = asked.outgoing
    headers = dict(outgoing.headers)
    length = int(headers["Inference-Header-Content-Length"])
    read, encoding = decode_infer("a/m", "2", outgoing.body, length)
    return read, encoding.binary or all(each.binary for each in encoding.outputs.values())


def over_grpc(asked):
    message, raw = parse_request(asked.outgoing.body)
    return decode_request(message, raw).request


def check_same(read):
    for name, array in ARRAYS.items():
        tensor = read.inputs[name]
        assert tensor.shape == array.shape
        sent = [each.encode() if isinstance(each, str) else each for each in array.ravel().tolist()]
        assert tensor.array.ravel().tolist() == sent
    assert (read.model_name, read.model_version, read.id) == ("a/m", "2", "id")
    assert read.parameters == {"text": "t", "whole": 3, "half": 0.5, "yes": True}
    assert (read.priority, read.correlation_id, read.flags) == (2, 7, 3)


FIELDS = {
    "parameters": {"text": "t", "whole": 3, "half": 0.5, "yes": True},
    "priority": 2,
    "correlation_id": 7,
    "flags": 3,
}


def test_the_server_reads_over_http_what_a_client_sends():
    asked = HttpCodec().infer(request(**FIELDS))
    assert asked.outgoing.target == "/v2/models/a%2Fm/versions/2/infer"
    read, is_binary = over_http(asked)
    assert is_binary
    check_same(read)


def test_the_server_reads_over_grpc_what_a_client_sends():
    check_same(over_grpc(GrpcCodec().infer(request(**FIELDS))))


def test_requested_outputs_are_sent_and_come_in_binary_form():
    read, is_binary = over_http(HttpCodec().infer(request(outputs=("y",))))
    assert (read.outputs, is_binary) == (("y",), True)
    assert over_grpc(GrpcCodec().infer(request(outputs=("y",)))).outputs == ("y",)


def test_a_parameter_of_more_than_64_bits_is_refused():
    assert over_grpc(GrpcCodec().infer(request(correlation_id=2**64 - 1))).correlation_id == 2**64 - 1
    with pytest.raises(SlipwayError, match="more than 64 bits"):
        GrpcCodec().infer(request(parameters={"a": 2**64}))


def response(**fields):
    tensors = [Tensor.from_array(name, array) for name, array in ARRAYS.items()]
    return InferResponse("m", "2", "id", tensors, {"p": 1}, **fields)


SIGNATURE = ModelSignature("m", 0, {}, {"s": TensorSpec("s", "BYTES", (-1, 1))})


def check_result(result):
    assert (result.model, result.version, result.id, dict(result.parameters)) == ("m", "2", "id", {"p": 1})
    assert list(result) == list(ARRAYS)
    assert result["f"].tolist() == ARRAYS["f"].tolist()
    assert result["f"].dtype == np.float32
    assert result["b"].dtype == ml_dtypes.bfloat16
    assert result["s"].tolist() == [["ä".encode()], [b"\xff"]]
    assert result["e"].shape == (0, 2)
    assert result["t"].tolist() == [True]


def http_answer(answer, *, binary):
    document, blobs = encode_infer(answer, ResponseEncoding(binary=binary), SIGNATURE)
    headers = {b"inference-header-content-length": str(len(document)).encode()} if blobs else {}
    return Incoming(document + b"".join(map(bytes, blobs)), 200, headers)


def test_a_client_reads_over_http_what_the_server_sends():
    check_result(InferResult(HttpCodec().infer(request()).read(http_answer(response(), binary=True))))


def test_a_client_reads_tensors_in_json():
    tensors = [Tensor.from_array("f", ARRAYS["f"]), Tensor.from_array("s", np.array([["ä"], ["b"]], object))]
    incoming = http_answer(InferResponse("m", "2", "id", tensors), binary=False)
    result = InferResult(HttpCodec().infer(request()).read(incoming))
    assert result["f"].tolist() == ARRAYS["f"].tolist()
    assert result["s"].tolist() == [["ä".encode()], [b"b"]]
    assert result.texts() == ["ä", "b"]


def test_a_client_reads_over_grpc_what_the_server_sends():
    check_result(InferResult(GrpcCodec().infer(request()).read(Incoming(encode_response(response())))))


def test_a_client_reads_typed_contents_of_other_servers():
    message = service_pb2.ModelInferResponse(model_name="m")
    output = message.outputs.add(name="y", datatype="INT8", shape=[2])
    output.contents.int_contents.extend([-1, 5])
    strings = message.outputs.add(name="s", datatype="BYTES", shape=[1])
    strings.contents.bytes_contents.append(b"a")
    result = InferResult(GrpcCodec().infer(request()).read(Incoming(message.SerializeToString())))
    assert result["y"].tolist() == [-1, 5]
    assert result["y"].dtype == np.int8
    assert result["s"].tolist() == [b"a"]


def test_a_stream_over_grpc_knows_its_last_response():
    asked = GrpcCodec().stream(request(), ModelInfo("m"))
    assert asked.has_final
    first = asked.read(Incoming(encode_stream_response(response(final=False))))
    last = asked.read(Incoming(encode_stream_response(InferResponse("m", "2", final=True, empty=True))))
    assert (first.final, first.empty, first.parameters) == (False, False, {"p": 1})
    assert (last.final, last.empty) == (True, True)
    explained = InferResponse("m", "2", final=True, empty=True, parameters={"slipway_explain": "{}"})
    with_text = asked.read(Incoming(encode_stream_response(explained)))
    assert (with_text.final, with_text.empty, with_text.parameters) == (True, False, {"slipway_explain": "{}"})
    error = service_pb2.ModelStreamInferResponse(error_message="Request for unknown model: 'm' is not found")
    with pytest.raises(SlipwayError, match="unknown model") as caught:
        asked.read(Incoming(error.SerializeToString()))
    assert caught.value.code is Code.NOT_FOUND


MODEL = ModelInfo("m", outputs=(TensorInfo("i", "INT32", (1,)), TensorInfo("s", "BYTES", (-1,))))


def test_events_have_the_datatypes_of_the_models_metadata():
    asked = HttpCodec().stream(InferRequest("m"), MODEL)
    event = asked.read(Incoming(b'{"id":"id","model_name":"m","model_version":"2","i":3,"s":["a","b"],"tokens":7}'))
    result = InferResult(event)
    assert result["i"].tolist() == [3]
    assert result["i"].dtype == np.int32
    assert result.texts("s") == ["a", "b"]
    assert (result.id, result.version, result.parameters) == ("id", "2", {"tokens": 7})


def test_a_stream_over_http_cannot_carry_bytes():
    tensors = {"s": Tensor.from_array("s", np.array([b"\xff"], object))}
    with pytest.raises(SlipwayError, match="input 's' is not valid UTF-8, and streams over HTTP are JSON: use gRPC"):
        HttpCodec().stream(InferRequest("m", inputs=tensors), MODEL)


@pytest.mark.parametrize(
    ("status", "body", "code", "text"),
    [
        (400, b'{"error":"bad"}', Code.INVALID_ARG, "bad"),
        (400, b'{"error":"Request for unknown model: x"}', Code.NOT_FOUND, "unknown model"),
        (404, b'{"error":"no"}', Code.NOT_FOUND, "no"),
        (500, b"oops", Code.INTERNAL, "oops"),
        (501, b"{}", Code.UNSUPPORTED, "{}"),
        (503, b"", Code.UNAVAILABLE, "HTTP status 503"),
        (301, b"", Code.INVALID_ARG, "HTTP status 301"),
    ],
)
def test_an_http_status_has_a_code(status, body, code, text):
    with pytest.raises(SlipwayError) as caught:
        HttpCodec().infer(request()).read(Incoming(body, status))
    assert caught.value.code is code
    assert text in caught.value.message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"model_name":"m","outputs":[{}]}',
        b'{"model_name":"m","outputs":[{"name":"y","datatype":"FP31","shape":[1],"data":[1]}]}',
        b'{"model_name":"m","outputs":[{"name":"y","datatype":"FP32","shape":[2],"data":[1]}]}',
        b'{"model_name":"m","outputs":[{"name":"y","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}}]}',
        b'{"model_name":"m","outputs":7}',
    ],
)
def test_an_answer_that_is_not_of_the_protocol_is_unavailable(body):
    with pytest.raises(SlipwayError) as caught:
        HttpCodec().infer(request()).read(Incoming(body))
    assert caught.value.code is Code.UNAVAILABLE


def test_a_message_that_is_not_of_the_protocol_is_unavailable():
    with pytest.raises(SlipwayError) as caught:
        GrpcCodec().infer(request()).read(Incoming(b"\xff\xff"))
    assert caught.value.code is Code.UNAVAILABLE


def test_an_output_is_looked_up_by_its_name():
    result = InferResult(response())
    with pytest.raises(KeyError, match="no output 'ff'; did you mean 'f'"):
        _ = result["ff"]
    with pytest.raises(SlipwayError, match="output 'f' is FP32, not a string"):
        result.texts("f")
    with pytest.raises(SlipwayError, match="output 's' is not valid UTF-8"):
        result.texts()
    assert result.dtype("e") == np.int8
    assert repr(result).startswith("InferResult('m', version '2', {f: FP32 [2, 3]")


def test_an_output_whose_bytes_do_not_fit_its_shape_is_unavailable():
    result = InferResult(InferResponse("m", outputs=[Tensor("y", "FP32", (2,), raw=b"\0\0\0\0")]))
    with pytest.raises(SlipwayError, match=r"output 'y' of the response is not FP32 \[2\]"):
        _ = result["y"]


def test_questions_are_the_routes_of_the_protocol():
    from slipway.client.messages import ServerQuestion

    codec = HttpCodec()
    load = codec.ask(ServerQuestion("load", "m", arguments={"config": "{}", "files": {"1/model.onnx": b"x"}})).outgoing
    assert load.target == "/v2/repository/models/m/load"
    assert orjson.loads(load.body) == {"parameters": {"config": "{}", "file:1/model.onnx": "eA=="}}
    assert codec.ask(ServerQuestion("statistics")).outgoing.target == "/v2/models/stats"
    assert codec.ask(ServerQuestion("model_ready", "m", "3")).outgoing.target == "/v2/models/m/versions/3/ready"
    assert codec.ask(ServerQuestion("index", arguments={"ready": True})).outgoing.body == b'{"ready":true}'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
OUTPUT = st.fixed_dictionaries(
    {},
    optional={
        "name": JSON | st.just("y"),
        "datatype": JSON | st.sampled_from(["INT8", "FP32", "BYTES", "BF16"]),
        "shape": JSON | st.lists(st.integers(-2, 3), max_size=3),
        "data": JSON | st.lists(st.integers(-300, 300) | st.floats(), max_size=3),
        "parameters": JSON | st.fixed_dictionaries({"binary_data_size": st.integers(-3, 9)}),
    },
)
DOCUMENT = st.fixed_dictionaries(
    {},
    optional={"model_name": JSON, "id": JSON, "parameters": JSON, "outputs": JSON | st.lists(OUTPUT, max_size=2)},
)


@given(document=DOCUMENT | JSON, rest=st.binary(max_size=9), length=st.none() | st.integers(-3, 99))
def test_any_answer_is_a_response_or_an_error_that_says_so(document, rest, length):
    text = orjson.dumps(document) if _fits(document) else b"{"
    headers = {} if length is None else {b"inference-header-content-length": str(length).encode()}
    with unavailable_at_worst():
        result = InferResult(HttpCodec().infer(request()).read(Incoming(text + rest, 200, headers)))
        for name in result:
            _ = result[name]


@given(event=st.dictionaries(st.sampled_from(["i", "s", "id", "x"]), JSON, max_size=3) | JSON)
def test_any_event_is_a_response_or_an_error_that_says_so(event):
    text = orjson.dumps(event) if _fits(event) else b"{"
    with unavailable_at_worst():
        InferResult(HttpCodec().stream(InferRequest("m"), MODEL).read(Incoming(text)))


@given(body=st.binary(max_size=40))
def test_any_message_is_a_response_or_an_error_that_says_so(body):
    with unavailable_at_worst():
        result = InferResult(GrpcCodec().infer(request()).read(Incoming(body)))
        for name in result:
            _ = result[name]


@contextmanager
def unavailable_at_worst():
    """Let the error pass that an answer is not of the protocol, and no other."""
    try:
        yield
    except SlipwayError as error:
        if error.code is not Code.UNAVAILABLE:
            raise


def _fits(document):
    """Return whether orjson writes the document: it has no integers of more than 64 bits, and no lone surrogates."""
    try:
        orjson.dumps(document)
    except (TypeError, orjson.JSONEncodeError):
        return False
    return True
