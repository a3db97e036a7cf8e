"""InferResponse -> bytes: identical to the protobuf library's output."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tritonclient.grpc import InferResult, service_pb2

from slipway.core.request import InferRequest, InferResponse
from slipway.core.tensor import Tensor
from slipway.errors import Code, SlipwayError
from slipway.wire import protobuf_response
from slipway.wire.protobuf_response import (
    encode_response,
    encode_stream_refusal,
    encode_stream_response,
    encode_stream_status,
)


def by_library(response, parameters):
    message = service_pb2.ModelInferResponse(
        model_name=response.model_name, model_version=response.model_version, id=response.id
    )
    for key, value in parameters.items():
        kinds = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
        setattr(message.parameters[key], kinds[type(value)], value)
    for tensor in response.outputs:
        message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        message.raw_output_contents.append(bytes(tensor.raw))
    return message


tensors = st.builds(
    Tensor.from_array,
    st.text(max_size=10),
    arrays.arrays(
        st.sampled_from([np.bool_, np.int8, np.uint64, np.float16, np.float32]),
        arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=20),
    ),
)


@given(st.text(max_size=300), st.lists(tensors, max_size=3), st.none() | st.text() | st.booleans() | st.floats())
def test_the_bytes_are_those_of_the_library(request_id, outputs, parameter):
    parameters = {} if parameter is None else {"p": parameter}
    response = InferResponse("model", "1", request_id, outputs, parameters)
    assert encode_response(response) == by_library(response, parameters).SerializeToString()


@given(tensors)
def test_tritonclient_reads_back_what_the_model_gave(tensor):
    message = service_pb2.ModelInferResponse.FromString(encode_response(InferResponse("m", "1", "", [tensor])))
    result = InferResult(message).as_numpy(tensor.name)
    np.testing.assert_array_equal(result, tensor.array)


def test_strings_go_out_with_length_prefixes():
    tensor = Tensor.from_array("O", np.array([b"", b"ab\0", "ü"], dtype=np.object_))
    message = service_pb2.ModelInferResponse.FromString(encode_response(InferResponse("m", "1", "", [tensor])))
    assert message.raw_output_contents[:] == [b"\0\0\0\0\3\0\0\0ab\0\2\0\0\0\xc3\xbc"]


@pytest.mark.parametrize("final", [True, False])
def test_a_stream_answer_carries_its_final_flag(final):
    outputs = [Tensor.from_array("O", np.arange(100, dtype=np.int64))]
    response = InferResponse("m", "1", "q", outputs, {"k": 3}, final=final)
    message = service_pb2.ModelStreamInferResponse.FromString(encode_stream_response(response))
    assert message.error_message == ""
    assert message.infer_response == by_library(response, {"k": 3, "triton_final_response": final})
    assert response.parameters == {"k": 3}


def test_a_stream_refusal_names_the_request_only():
    message = service_pb2.ModelStreamInferResponse.FromString(encode_stream_refusal("no", "q"))
    assert message == service_pb2.ModelStreamInferResponse(
        error_message="no", infer_response=service_pb2.ModelInferResponse(id="q")
    )


def test_a_stream_status_names_request_and_model_as_they_were_asked_for():
    answer = encode_stream_status(InferRequest("m", "", "q"), message="boom", final=False)
    message = service_pb2.ModelStreamInferResponse.FromString(answer)
    assert (message.error_message, message.infer_response.model_name, message.infer_response.id) == ("boom", "m", "q")
    assert message.infer_response.parameters["triton_final_response"].WhichOneof("parameter_choice") == "bool_param"


def test_a_message_above_the_limit_of_grpc_is_an_error(monkeypatch):
    monkeypatch.setattr(protobuf_response, "MAX_MESSAGE_BYTES", 100)
    response = InferResponse("m", "1", "", [Tensor.from_array("O", np.zeros(200, np.uint8))])
    with pytest.raises(SlipwayError, match="exceeds gRPC's byte size limit 100") as caught:
        encode_response(response)
    assert caught.value.code is Code.INVALID_ARG


def test_a_correlation_id_without_a_sign_keeps_its_bits():
    response = InferResponse("m", "1", "", [], {"sequence_id": (1 << 64) - 1, "k": (1 << 63) - 1})
    message = service_pb2.ModelInferResponse.FromString(encode_response(response))
    assert message.parameters["sequence_id"].int64_param == -1
    assert message.parameters["k"].int64_param == (1 << 63) - 1
