"""Encode an InferResponse as the bytes of a ModelInferResponse or ModelStreamInferResponse.

Messages are assembled from encoded fields. Fields that repeat between responses (model; name, datatype and shape of an
output) are encoded once by the protobuf library and cached; tensor data is copied once, from the model's array into the
message. The result equals the library's encoding byte for byte; a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from google.protobuf.message import Message
from tritonclient.grpc import service_pb2

from slipway.core.explanation import EXPLAIN
from slipway.core.large_work import LARGE_COUNT
from slipway.core.request import InferRequest, InferResponse, Parameter
from slipway.core.signature import ModelSignature
from slipway.core.tensor import Raw, Tensor
from slipway.errors import SlipwayError, invalid
from slipway.wire.classification import classify

MAX_MESSAGE_BYTES: Final = 2**31 - 1
_MAX_INT64: Final = 2**63 - 1
FINAL_RESPONSE: Final = "triton_final_response"

# Tags: field number and wire type 2 (length-delimited).
_ID: Final = b"\x1a"  # ModelInferResponse.id = 3
_OUTPUTS: Final = b"\x2a"  # ModelInferResponse.outputs = 5
_RAW_OUTPUT: Final = b"\x32"  # ModelInferResponse.raw_output_contents = 6
_INFER_RESPONSE: Final = b"\x12"  # ModelStreamInferResponse.infer_response = 2


def is_large_answer(response: InferResponse, classes: Mapping[str, int]) -> bool:
    """Return whether `prepare` has so much to do for the response that it has to be done in a thread."""
    for tensor in response.outputs:
        if tensor.datatype == "BYTES" and tensor.is_large_to_pack:
            return True
        if tensor.name in classes and tensor.element_count > LARGE_COUNT:
            return True
    return False


def prepare(response: InferResponse, classes: Mapping[str, int], signature: ModelSignature) -> None:
    """Replace the outputs that were requested as classes and pack all strings; an error becomes the response's."""
    batched = signature.max_batch_size > 0
    try:
        if classes:
            response.outputs = [
                classify(tensor, classes[tensor.name], signature.outputs[tensor.name].labels, batched=batched)
                if tensor.name in classes
                else tensor
                for tensor in response.outputs
            ]
        for tensor in response.outputs:
            _ = tensor.raw
        response.limit()  # exact, now that the strings are packed
    except SlipwayError as error:
        response.error = error.without_frames()


def encode_response(response: InferResponse) -> bytes:
    """Return the ModelInferResponse for a successful response; raise `SlipwayError` (INVALID_ARG) above 2 GiB."""
    return _joined(_parts(response, response.parameters))


def encode_stream_response(response: InferResponse) -> bytes:
    """Return the ModelStreamInferResponse for a successful response, with its `triton_final_response`."""
    parts = _parts(response, {**response.parameters, FINAL_RESPONSE: response.final})
    size = sum(map(len, parts))
    return _joined([_INFER_RESPONSE, _varint(size), *parts])


def encode_stream_refusal(message: str, request_id: str) -> bytes:
    """Return the stream's response to a request that was refused at once."""
    refused = service_pb2.ModelInferResponse(id=request_id)
    return _serialized(service_pb2.ModelStreamInferResponse(error_message=sendable(message), infer_response=refused))


def encode_stream_status(
    request: InferRequest, *, message: str = "", final: bool = True, explanation: Parameter | None = None
) -> bytes:
    """Return the stream's response without outputs: an execution error, or the empty final response, with the
    explanation of the request if it asked for one."""
    answer = service_pb2.ModelInferResponse(
        model_name=request.model_name, model_version=request.model_version, id=request.id
    )
    answer.parameters[FINAL_RESPONSE].bool_param = final
    if explanation is not None:
        answer.parameters[EXPLAIN].string_param = str(explanation)
    return _serialized(service_pb2.ModelStreamInferResponse(error_message=sendable(message), infer_response=answer))


def sendable(text: str) -> str:
    """Return a text from a model as UTF-8 can carry it: half characters (lone surrogates) become question marks."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _parts(response: InferResponse, parameters: Mapping[str, Parameter]) -> list[Raw]:
    parts: list[Raw] = [_model_fields(response.model_name, response.model_version)]
    if response.id:
        identifier = response.id.encode()
        parts += (_ID, _varint(len(identifier)), identifier)
    if parameters:
        parts.append(_parameters(parameters))
    outputs: Sequence[Tensor] = response.outputs
    for tensor in outputs:
        parts.append(_output_field(tensor.name, tensor.datatype, tensor.shape))
    for tensor in outputs:
        raw = tensor.raw
        parts += (_RAW_OUTPUT, _varint(len(raw)), raw)
    return parts


def _joined(parts: Sequence[Raw]) -> bytes:
    message = b"".join(parts)
    if len(message) > MAX_MESSAGE_BYTES:
        raise invalid(
            f"Response has byte size {len(message)} which exceeds gRPC's byte size limit {MAX_MESSAGE_BYTES}."
        )
    return message


@lru_cache(maxsize=1024)
def _model_fields(name: str, version: str) -> bytes:
    return _serialized(service_pb2.ModelInferResponse(model_name=name, model_version=version))


@lru_cache(maxsize=4096)
def _output_field(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    output = service_pb2.ModelInferResponse.InferOutputTensor(name=name, datatype=datatype, shape=shape)
    body = _serialized(output)
    return _OUTPUTS + _varint(len(body)) + body


def _parameters(parameters: Mapping[str, Parameter]) -> bytes:
    message = service_pb2.ModelInferResponse()
    for key, value in parameters.items():
        if isinstance(value, bool):
            message.parameters[key].bool_param = value
        elif isinstance(value, int):
            # A correlation id has 64 bits without a sign; Triton sends it in this signed field unchanged.
            message.parameters[key].int64_param = value if value <= _MAX_INT64 else value - (1 << 64)
        elif isinstance(value, float):
            message.parameters[key].double_param = value
        else:
            message.parameters[key].string_param = value
    return _serialized(message)


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
