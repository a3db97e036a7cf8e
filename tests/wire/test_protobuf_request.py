"""ModelInferRequest -> InferRequest: Triton's rules, and round trips against tritonclient's own encoder."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tritonclient.grpc import InferInput, service_pb2

from slipway.core.request import SEQUENCE_END, SEQUENCE_START
from slipway.errors import Code, SlipwayError
from slipway.wire import protobuf_contents
from slipway.wire.protobuf_contents import MAX_PARSED_BYTES
from slipway.wire.protobuf_request import decode_request, parse_request

RESERVED = (
    "parameter keys starting with 'triton_' are reserved for Triton usage. Only the following keys starting with "
    "'triton_' are allowed: triton_enable_empty_final_response"
)
SHARED_MEMORY = "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to enable."
BAD_DATA = "unexpected explicit tensor data for input tensor 'I' for model 'm'"


def message(datatype="FP32", shape=(2,), raw=None):
    request = service_pb2.ModelInferRequest(model_name="m", id="q")
    request.inputs.add(name="I", datatype=datatype, shape=shape)
    if raw is not None:
        request.raw_input_contents.append(raw)
    return request


def decode(request):
    return decode_request(*parse_request(request.SerializeToString()))


def refusal(request):
    with pytest.raises(SlipwayError) as caught:
        decode(request)
    return caught.value.code, caught.value.message


@pytest.mark.parametrize("size", [64, 64 * 1024])
def test_raw_contents_become_the_tensor_whatever_the_size(size):
    raw = bytes(range(64)) * (size // 64)
    request = message("UINT8", (size,), raw)
    request.parameters["custom"].double_param = 0.5
    decoded = decode(request).request
    assert (decoded.model_name, decoded.id, decoded.parameters) == ("m", "q", {"custom": 0.5})
    assert decoded.inputs["I"].array.tobytes() == raw


def test_raw_contents_of_a_large_message_are_views_of_it():
    payload = message("UINT8", (2**20,), bytes(2**20)).SerializeToString()
    _, (raw,) = parse_request(payload)
    assert isinstance(raw, memoryview)
    assert raw.obj is payload


@given(
    arrays.arrays(
        st.sampled_from([np.bool_, np.uint8, np.int16, np.uint32, np.int64, np.float16, np.float32, np.float64]),
        arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5),
    )
)
def test_what_tritonclient_encodes_is_what_the_model_sees(array):
    names = {"bool": "BOOL", "float16": "FP16", "float32": "FP32", "float64": "FP64"}
    encoder = InferInput("I", list(array.shape), names.get(array.dtype.name, array.dtype.name.upper()))
    encoder.set_data_from_numpy(array)
    request = service_pb2.ModelInferRequest(model_name="m", inputs=[encoder._get_tensor()])
    request.raw_input_contents.append(encoder._get_content())
    tensor = decode(request).request.inputs["I"]
    assert tensor.array.dtype == array.dtype
    np.testing.assert_array_equal(tensor.array, array)


@given(st.lists(st.binary(max_size=20), max_size=8))
def test_strings_survive_raw_and_typed(elements):
    encoder = InferInput("I", [len(elements)], "BYTES")
    encoder.set_data_from_numpy(np.array(elements, dtype=np.object_))
    raw = service_pb2.ModelInferRequest(inputs=[encoder._get_tensor()], raw_input_contents=[encoder._get_content()])
    typed = message("BYTES", (len(elements),))
    typed.inputs[0].contents.bytes_contents.extend(elements)
    typed.inputs[0].contents.SetInParent()
    for request in (raw, typed):
        assert decode(request).request.inputs["I"].array.tolist() == elements


@pytest.mark.parametrize(
    ("datatype", "field", "values", "expected"),
    [
        ("BOOL", "bool_contents", [True, False], [True, False]),
        ("INT8", "int_contents", [1, -1], [1, -1]),
        ("INT8", "int_contents", [300, -129], [44, 127]),  # the low byte, as Triton keeps it
        ("INT16", "int_contents", [1, 70000], [1, 4464]),
        ("INT32", "int_contents", [1, -(2**31)], [1, -(2**31)]),
        ("INT64", "int64_contents", [1, -(2**63)], [1, -(2**63)]),
        ("UINT8", "uint_contents", [1, 300], [1, 44]),
        ("UINT16", "uint_contents", [1, 65536], [1, 0]),
        ("UINT32", "uint_contents", [1, 2**32 - 1], [1, 2**32 - 1]),
        ("UINT64", "uint64_contents", [1, 2**64 - 1], [1, 2**64 - 1]),
        ("FP32", "fp32_contents", [1.5, float("inf")], [1.5, float("inf")]),
        ("FP64", "fp64_contents", [0.1, -0.0], [0.1, -0.0]),
        ("BYTES", "bytes_contents", [b"", b"a\0"], [b"", b"a\0"]),
    ],
)
def test_typed_contents_are_packed_by_datatype(datatype, field, values, expected):
    request = message(datatype)
    getattr(request.inputs[0].contents, field).extend(values)
    assert decode(request).request.inputs["I"].array.tolist() == expected


def typed(datatype, **fields):
    request = message(datatype)
    request.inputs[0].contents.CopyFrom(service_pb2.InferTensorContents(**fields))
    return request


def mixed():
    request = typed("FP32", fp32_contents=[1, 2])
    request.raw_input_contents.append(bytes(8))
    return request


def twice():
    request = message(raw=bytes(8))
    request.inputs.add(name="I", datatype="FP32", shape=[2])
    request.raw_input_contents.append(bytes(8))
    return request


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (message(), "unable to find data for input tensor 'I' for model 'm' in request."),
        (mixed(), "contents field must not be specified when using raw_input_contents for 'I' for model 'm'"),
        (twice(), "[request id: q] input 'I' already exists in request"),
        (typed("FP32", int_contents=[1]), f"{BAD_DATA} of type 'INT32', expected datatype 'FP32'"),
        (typed("FP16", fp32_contents=[1]), f"{BAD_DATA} of type 'FP32', expected datatype 'FP16'"),
        (typed("BF16", uint_contents=[1]), f"{BAD_DATA} of type 'UINT32', expected datatype 'BF16'"),
        (typed("WHAT", bool_contents=[True]), f"{BAD_DATA} of type 'BOOL', expected datatype '<invalid>'"),
        (typed("INT32", int_contents=[1], fp32_contents=[1]), f"{BAD_DATA}, binary data was already supplied."),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_data_that_does_not_fit_its_input_is_refused_in_tritons_words(request_, text):
    assert refusal(request_) == (Code.INVALID_ARG, text)


def test_more_raw_contents_than_inputs_are_ignored_as_triton_does():
    request = message(raw=bytes(8))
    request.raw_input_contents.append(b"more")
    assert len(decode(request).request.inputs["I"].raw) == 8


def test_an_unknown_datatype_is_left_to_the_check_against_the_model():
    assert decode(message("NOPE", raw=bytes(8))).request.inputs["I"].datatype == "<invalid>"


def parameter(key, **value):
    request = message(raw=bytes(8))
    request.parameters[key].CopyFrom(service_pb2.InferParameter(**value))
    return request


@pytest.mark.parametrize(
    ("key", "value", "field", "expected"),
    [
        ("sequence_id", {"int64_param": 7}, "correlation_id", 7),
        ("sequence_id", {"int64_param": -1}, "correlation_id", 2**64 - 1),
        ("sequence_id", {"string_param": "a"}, "correlation_id", "a"),
        ("sequence_start", {"bool_param": True}, "flags", SEQUENCE_START),
        ("sequence_start", {"bool_param": False}, "flags", 0),
        ("sequence_end", {"bool_param": True}, "flags", SEQUENCE_END),
        ("priority", {"int64_param": 3}, "priority", 3),
        ("priority", {"uint64_param": 2**63}, "priority", 2**63),
        ("timeout", {"int64_param": 5}, "timeout_us", 5),
        ("timeout", {"int64_param": -3}, "timeout_us", 2**64 - 3),
        ("custom", {"string_param": "s"}, "parameters", {"custom": "s"}),
        ("custom", {"bool_param": False}, "parameters", {"custom": False}),
        ("headers", {"int64_param": -3}, "parameters", {"headers": -3}),
    ],
)
def test_a_parameter_goes_to_its_field(key, value, field, expected):
    decoded = decode(parameter(key, **value))
    assert getattr(decoded.request, field) == expected
    assert decoded.request.parameters == ({key: next(iter(value.values()))} if field == "parameters" else {})


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("sequence_id", {"double_param": 1}, "'sequence_id' parameter, expected int64_param or string_param."),
        ("sequence_start", {"int64_param": 1}, "'sequence_start' parameter, expected bool_param."),
        ("sequence_end", {}, "'sequence_end' parameter, expected bool_param."),
        ("priority", {"string_param": "1"}, "'priority' parameter, expected int64_param or uint64_param."),
        ("timeout", {"uint64_param": 1}, "'timeout' parameter, expected int64_param."),
        ("custom", {"uint64_param": 1}, "'custom' parameter, expected int64_param, bool_param, or string_param."),
        ("custom", {}, "'custom' parameter, expected int64_param, bool_param, or string_param."),
        (
            "triton_enable_empty_final_response",
            {"int64_param": 1},
            "'triton_enable_empty_final_response' parameter, expected bool_param.",
        ),
    ],
)
def test_a_parameter_of_the_wrong_type_is_refused(key, value, text):
    assert refusal(parameter(key, **value)) == (Code.INVALID_ARG, f"invalid value type for {text}")


def test_reserved_keys_negative_priorities_and_long_sequence_names_are_refused():
    assert refusal(parameter("triton_x", bool_param=True)) == (Code.INVALID_ARG, RESERVED)
    assert refusal(parameter("priority", int64_param=-1)) == (
        Code.INVALID_ARG,
        "invalid value for 'priority', expected value >= 0.",
    )
    assert refusal(parameter("sequence_id", string_param="x" * 129)) == (
        Code.UNSUPPORTED,
        "string correlation ID cannot be longer than 128 characters",
    )


def test_the_empty_final_response_is_asked_for_per_request():
    assert decode(parameter("triton_enable_empty_final_response", bool_param=True)).empty_final
    assert not decode(message(raw=bytes(8))).empty_final


def output(**parameters):
    request = message(raw=bytes(8))
    wanted = request.outputs.add(name="O")
    for key, value in parameters.items():
        kind = "string_param" if isinstance(value, str) else "int64_param"
        setattr(wanted.parameters[key], kind, value)
    return request


def test_requested_outputs_are_named_once_with_their_class_counts():
    request = output(classification=2**31)
    request.outputs.add(name="P").parameters["anything"].bool_param = True
    request.outputs.add(name="O")
    decoded = decode(request)
    assert decoded.request.outputs == ("O", "P")
    assert decoded.classes == {"O": 2**31}


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"classification": "2"}, "invalid value type for 'classification' parameter, expected int64_param"),
        ({"classification": 0}, "invalid value for 'classification' parameter, expected >= 0"),
        ({"classification": -1}, "invalid value for 'classification' parameter, expected >= 0"),
        (
            {"classification": 1, "shared_memory_region": "r"},
            "output can't set both 'shared_memory_region' and 'classification'",
        ),
        (
            {"shared_memory_byte_size": 8},
            "'shared_memory_byte_size' can not be specified without 'shared_memory_region' parameter for tensor 'O'",
        ),
        (
            {"shared_memory_region": "r"},
            "'shared_memory_byte_size' must be specified along with 'shared_memory_region' parameter for tensor 'O'",
        ),
        (
            {"shared_memory_region": 1},
            "invalid value type for 'shared_memory_region' parameter for tensor 'O', expected string_param.",
        ),
        (
            {"shared_memory_region": "r", "shared_memory_byte_size": "8"},
            "invalid value type for 'shared_memory_byte_size' parameter for tensor 'O', expected int64_param.",
        ),
    ],
)
def test_an_output_asked_for_in_a_wrong_way_is_refused(parameters, text):
    assert refusal(output(**parameters)) == (Code.INVALID_ARG, text)


def test_shared_memory_says_that_it_is_off():
    region = {"shared_memory_region": "r", "shared_memory_byte_size": 8}
    assert refusal(output(**region)) == (Code.UNSUPPORTED, SHARED_MEMORY)
    request = message()
    request.inputs[0].parameters["shared_memory_region"].string_param = "r"
    request.inputs[0].parameters["shared_memory_byte_size"].int64_param = 8
    assert refusal(request) == (Code.UNSUPPORTED, SHARED_MEMORY)
    request.inputs[0].contents.fp32_contents.append(1)
    assert refusal(request) == (
        Code.INVALID_ARG,
        "unexpected 'content' provided when using shared memory for input tensor 'I' for model 'm'",
    )


@given(st.binary(max_size=200))
def test_any_bytes_give_a_request_or_a_typed_error(payload):
    with contextlib.suppress(SlipwayError):  # anything else is a failure
        decode_request(*parse_request(payload))


def typed_with(part: str) -> bytes:
    """Return a message whose contents are small, and one other part of which is large."""
    message = service_pb2.ModelInferRequest(model_name="m")
    message.inputs.add(name="X", datatype="INT64", shape=[1]).contents.int64_contents.append(1)
    if part == "id":
        message.id = "x" * 3_000_000
    elif part == "outputs":
        output = message.outputs.add(name="O")
        for number in range(200_000):
            output.parameters[str(number)].bool_param = True
    else:
        message.inputs[0].shape.extend([1] * 3_000_000)
    return message.SerializeToString()


@pytest.mark.parametrize("part", ["id", "outputs", "shape"])
def test_only_tensor_data_may_be_large(monkeypatch, part):
    payload = typed_with(part)
    assert len(payload) > MAX_PARSED_BYTES
    monkeypatch.setattr(protobuf_contents, "service_pb2", None)  # it is refused before anything is parsed
    with pytest.raises(SlipwayError, match="only tensor data may be larger") as caught:
        parse_request(payload)
    assert caught.value.code is Code.INVALID_ARG
