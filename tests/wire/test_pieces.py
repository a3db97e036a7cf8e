"""What is decoded and encoded in pieces equals what is done in one go."""

from __future__ import annotations

import json
import random

import numpy as np
import orjson
import pytest
from tritonclient.grpc import service_pb2

from slipway.core import request
from slipway.core.bytes_codec import encode_bytes
from slipway.core.request import InferResponse
from slipway.core.signature import ModelSignature, TensorSpec
from slipway.core.tensor import Tensor
from slipway.errors import SlipwayError
from slipway.wire import duplicate_keys, encode, json_pieces, json_strings, json_tensor, protobuf_contents
from slipway.wire.classification import classify
from slipway.wire.duplicate_keys import duplicate_key
from slipway.wire.encode import encode_infer, encode_large_infer
from slipway.wire.generate import encode_generate, encode_large_generate
from slipway.wire.infer_request import OutputEncoding, ResponseEncoding
from slipway.wire.protobuf_contents import split_typed_contents
from slipway.wire.protobuf_request import decode_request, parse_request

MODEL = ModelSignature("m", 8, {}, {"OUT": TensorSpec("OUT", "FP32", (3,), labels=("cat", "dog"))})
TEXTS = [
    *("", "a", 'say "hi"', "back\\slash", "comma, [bracket]", "grüße", "\n\t", '","', "\\", '\\"'),
    *("x" * 50, "\\ud83d 😀😀", "\\" * 9, "é" * 20),
]


def tensors() -> list[Tensor]:
    texts = np.array([[text.encode() for text in TEXTS]], object)
    return [
        Tensor.from_array("F", np.arange(40, dtype=np.float32).reshape(1, 40) / 7),
        Tensor.from_array("D", np.array([[0.1, np.nan, -np.inf, 1e300]])),
        Tensor.from_array("I", np.array([[-(2**63), 0, 2**63 - 1]])),
        Tensor.from_array("B", np.array([[True, False]])),
        Tensor.from_array("E", np.zeros((1, 0), np.float32)),
        Tensor.from_array("S", texts),
        Tensor("R", "BYTES", texts.shape, raw=encode_bytes(texts.ravel().tolist())),
        Tensor.from_array("ONE", np.array([1.5], np.float32)),
    ]


@pytest.fixture
def small_pieces(monkeypatch):
    """Cut everything into tiny pieces."""
    monkeypatch.setattr(json_pieces, "_PIECE", 3)
    monkeypatch.setattr(json_strings, "_PIECE", 8)
    monkeypatch.setattr(json_tensor, "_PIECE", 8)
    monkeypatch.setattr(protobuf_contents, "_PIECE", 32)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("encoding", [ResponseEncoding(), ResponseEncoding(binary=True)], ids=["json", "binary"])
def test_a_response_in_pieces_is_the_same_document(encoding):
    response = InferResponse("m", "1", "7", tensors(), {"p": 1})
    document, blobs = encode_infer(response, encoding, MODEL)
    large = encode_large_infer(response, encoding, MODEL)
    assert b"".join(large.pieces) == document
    assert [bytes(blob) for blob in large.blobs] == [bytes(blob) for blob in blobs]


@pytest.mark.usefixtures("small_pieces")
def test_classes_in_pieces_are_the_same():
    response = InferResponse("m", "1", "", [Tensor.from_array("OUT", np.array([[0.25, 3, 1.5]], np.float32))])
    encoding = ResponseEncoding(outputs={"OUT": OutputEncoding(binary=False, classes=3)})
    large = encode_large_infer(response, encoding, MODEL)
    assert b"".join(large.pieces) == encode_infer(response, encoding, MODEL)[0]
    assert not large.is_certain


@pytest.mark.parametrize(
    ("outputs", "is_certain"), [([], True), (tensors()[:5], True), (tensors(), False)], ids=["none", "numbers", "texts"]
)
def test_a_response_of_numbers_is_certain_to_be_encoded(outputs, is_certain):
    response = InferResponse("m", "1", "", outputs)
    large = encode_large_infer(response, ResponseEncoding(), MODEL)
    assert large.is_certain is is_certain
    assert b"".join(large.pieces) == encode_infer(response, ResponseEncoding(), MODEL)[0]


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_what_json_cannot_represent_is_refused_before_the_first_piece(datatype):
    outputs = [Tensor.from_array("F", np.zeros(3, np.float32)), Tensor("H", datatype, (1, 2), raw=bytes(4))]
    with pytest.raises(SlipwayError, match=f"sending {datatype} data via JSON is not supported"):
        encode_large_infer(InferResponse("m", "1", "", outputs), ResponseEncoding(), MODEL)


@pytest.mark.parametrize("tensor", tensors(), ids=lambda tensor: tensor.name)
def test_a_generate_response_in_pieces_is_the_same_document(tensor, monkeypatch):
    response = InferResponse("m", "1", "7", [tensor], {"p": "x"})
    document = encode_generate(response)
    if tensor.element_count > 1:
        monkeypatch.setattr("slipway.wire.generate.json_data", lambda _: None)
    assert b"".join(encode_large_generate(response)) == document


@pytest.mark.parametrize("many", [np.zeros((1, 16385), np.float32), np.full((1, 16385), b"", object)])
def test_large_outputs_are_left_to_a_thread(many):
    response = InferResponse("m", "1", "", [Tensor.from_array("OUT", many)])
    assert encode_infer(response, ResponseEncoding(), MODEL) is None
    assert encode_generate(response) is None


@pytest.mark.parametrize("text", [b"x" * (300 << 10)])
def test_long_texts_are_left_to_a_thread(text):
    for tensor in (
        Tensor.from_array("OUT", np.array([[text]], object)),
        Tensor("OUT", "BYTES", (1, 1), raw=encode_bytes([text])),
    ):
        assert encode_infer(InferResponse("m", "1", "", [tensor]), ResponseEncoding(), MODEL) is None


@pytest.mark.parametrize("binary", [False, True])
def test_few_long_texts_are_not_encoded_before_they_are_left_to_a_thread(binary, monkeypatch):
    monkeypatch.delattr(encode, "texts_of")
    monkeypatch.setattr("slipway.core.tensor.encode_bytes", None)
    response = InferResponse("m", "1", "", [Tensor.from_array("OUT", np.full((1, 10), "x" * (1 << 20), object))])
    assert encode_infer(response, ResponseEncoding(binary=binary), MODEL) is None


@pytest.mark.parametrize("element", ["xyz", "ü"])
def test_many_strings_are_held_against_the_limit_of_a_response_in_the_thread(element, monkeypatch):
    texts = np.full((1, 20_000), element, object)
    texts[0, :16384] = ""
    limit = 4 * 20_000 + len(element.encode()) * (20_000 - 16384)
    large = (lambda response: encode_large_infer(response, ResponseEncoding(), MODEL), encode_large_generate)
    for encode_large in large:
        response = InferResponse("m", "1", "", [Tensor.from_array("OUT", texts)])
        monkeypatch.setattr(request, "MAX_RESPONSE_BYTES", limit)
        encode_large(response)
        monkeypatch.setattr(request, "MAX_RESPONSE_BYTES", limit - 1)
        response.limit()
        assert response.error is None
        with pytest.raises(SlipwayError, match=f"the response has {limit} bytes, which exceeds the limit"):
            encode_large(response)


@pytest.mark.usefixtures("small_pieces")
def test_texts_that_are_not_utf8_are_refused_in_pieces():
    response = InferResponse("m", "1", "", [Tensor("OUT", "BYTES", (1, 2), raw=encode_bytes([b"a", b"\xff"]))])
    large = encode_large_infer(response, ResponseEncoding(), MODEL)
    with pytest.raises(SlipwayError, match="not UTF-8"):
        list(large.pieces)


@pytest.mark.parametrize("seed", range(20))
def test_strings_get_the_wire_form_wherever_they_are_cut(seed, monkeypatch):
    chance = random.Random(seed)
    strings = [chance.choice(TEXTS) for _ in range(chance.randrange(40))]
    text = json.dumps(strings, ensure_ascii=chance.random() < 0.5, indent=chance.choice([None, 1])).encode()
    for size in range(1, 20):
        monkeypatch.setattr(json_strings, "_PIECE", size)
        monkeypatch.setattr(json_strings, "_LONG", size * chance.choice([1, 2, 4]))
        raw, count = json_strings.wire_form(memoryview(text))
        assert count == len(strings)
        assert bytes(raw) == encode_bytes(strings)


@pytest.mark.parametrize("text", TEXTS)
def test_one_string_gets_the_wire_form_wherever_it_is_cut(text, monkeypatch):
    for size in range(1, 20):
        monkeypatch.setattr(json_strings, "_PIECE", size)
        for ascii_only in (True, False):
            found = json_strings.wire_form(memoryview(json.dumps(text, ensure_ascii=ascii_only).encode()))
            assert found == (encode_bytes([text]), 1)


@pytest.mark.parametrize("text", [rb'"aaaaaaaaaa\ud83d"', rb'["aaaaaaaaaaa\ud83dbb"]', rb'["aaaaaaa\ud83d\u0041"]'])
def test_half_of_a_surrogate_pair_has_no_wire_form(text, monkeypatch):
    for size in range(1, 20):
        monkeypatch.setattr(json_strings, "_PIECE", size)
        monkeypatch.setattr(json_strings, "_LONG", size)
        assert json_strings.wire_form(memoryview(text)) is None


@pytest.mark.parametrize("text", TEXTS)
def test_a_long_string_is_written_in_parts(text, monkeypatch):
    monkeypatch.setattr(json_pieces, "LARGE", 3)
    assert json.loads(json_pieces._dumps_strings([text, text])) == [text, text]
    assert json_pieces._dumps_strings([text, text]) == orjson.dumps([text, text])


@pytest.mark.parametrize("text", [b"[1]", b'[["a"],["b"]]', b'{"a":"b"}', b'["a",1]', b'["a",null,"b"]', b"1"])
def test_other_values_have_no_wire_form(text, monkeypatch):
    for size in range(1, 12):
        monkeypatch.setattr(json_strings, "_PIECE", size)
        assert json_strings.wire_form(memoryview(text)) is None


@pytest.mark.parametrize("seed", range(20))
def test_numbers_are_read_wherever_they_are_cut(seed, monkeypatch):
    chance = random.Random(seed)
    values = [chance.uniform(-1e6, 1e6) for _ in range(1 + chance.randrange(60))]
    text = json.dumps(values, indent=chance.choice([None, 2])).encode()
    for size in (1, 7, 20, 64):
        monkeypatch.setattr(json_tensor, "_PIECE", size)
        assert json_tensor.count_numbers(memoryview(text)) == len(values)
        tensor = json_tensor.decode_tensor("x", "FP64", (len(values),), json_tensor.msgspec.Raw(text))
        assert tensor.array.tolist() == values


def contents(datatype: str, field: str, values: list[object]) -> service_pb2.ModelInferRequest:
    message = service_pb2.ModelInferRequest(model_name="m", id="7")
    message.parameters["p"].int64_param = 3
    entry = message.inputs.add(name="X", datatype=datatype, shape=[len(values)])
    getattr(entry.contents, field).extend(values)
    message.outputs.add(name="Y")
    return message


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(
    ("datatype", "field", "values"),
    [
        ("BYTES", "bytes_contents", [b"", b"a", b"x" * 300, b"\xff\0"]),
        ("FP32", "fp32_contents", [1.5, -2.0, 3e38]),
        ("FP64", "fp64_contents", [1.5, 1e300]),
        ("INT64", "int64_contents", [0, 1, -1, 2**63 - 1, -(2**63), *range(300)]),
        ("INT32", "int_contents", [0, 127, 128, -1, 2**31 - 1, -(2**31)]),
        ("INT8", "int_contents", [0, 127, -128, 255, 256]),
        ("UINT8", "uint_contents", [0, 255, 300]),
        ("UINT64", "uint64_contents", [0, 2**64 - 1, 2**63, *range(100, 200)]),
        ("BOOL", "bool_contents", [True, False] * 40),
        ("INT64", "int64_contents", []),
    ],
)
def test_typed_contents_are_read_as_the_library_reads_them(datatype, field, values):
    message = contents(datatype, field, values)
    message.inputs[0].contents.SetInParent()
    payload = message.SerializeToString()
    expected = decode_request(*parse_request(payload))
    found = decode_request(*split_typed_contents(payload))
    assert bytes(found.request.inputs["X"].raw) == bytes(expected.request.inputs["X"].raw)
    assert found.request.inputs["X"].shape == expected.request.inputs["X"].shape
    assert (found.request.id, found.request.outputs) == (expected.request.id, expected.request.outputs)
    assert found.request.parameters == expected.request.parameters


def test_unusual_messages_are_left_to_the_library():
    mixed = contents("INT64", "int64_contents", [1])
    mixed.inputs[0].contents.fp32_contents.append(1)
    wrong = contents("FP32", "int64_contents", [1])
    both = contents("INT64", "int64_contents", [1])
    both.raw_input_contents.append(b"x")
    without = contents("INT64", "int64_contents", [])
    without.inputs[0].ClearField("contents")
    for message in (mixed, wrong, both, without):
        assert split_typed_contents(message.SerializeToString()) is None
    payload = contents("INT64", "int64_contents", [300]).SerializeToString()
    for damaged in (payload[:-1], payload + b"\x2a\x7f", b"\xff" * 20):
        assert split_typed_contents(damaged) is None


@pytest.mark.parametrize(
    ("members", "key"),
    [
        (rb'"a":1,"\u0061":2', "a"),
        (rb'"\"":1,"\u0022":2', '"'),
        (rb'"\\":1,"\u005C":2', "\\"),
        (rb'"a\"":1,"a":2', None),
        (rb'"a":"\"a\":","b":1', None),
        (rb'"\\\"a":1,"\\\"a":1', '\\"a'),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 1 << 20])
def test_keys_given_twice_are_found_in_large_documents(members, key, size, monkeypatch):
    monkeypatch.setattr(duplicate_keys, "_PIECE", size)
    assert duplicate_key(b"{" + members + b"}") == key


def test_classes_are_packed_without_an_object_each():
    result = classify(Tensor.from_array("OUT", np.arange(5, dtype=np.float32)), 5, (), batched=False)
    assert not result.is_decoded
    assert result.elements == 5
