"""Decode a ModelInferRequest to an InferRequest: Triton's gRPC rules for tensors, parameters and requested outputs.

Pure: does not look up models. Texts and codes are tritonserver's (`src/grpc/infer_handler.cc`).
Raw tensor contents of large messages become views of the received bytes; see `parse_request`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from slipway.core.bytes_codec import encode_bytes
from slipway.core.explanation import EXPLAIN, Explanation
from slipway.core.large_work import LARGE, LARGE_COUNT
from slipway.core.request import SEQUENCE_END, SEQUENCE_START, InferRequest
from slipway.core.tensor import Raw, Tensor
from slipway.core.version import requested_version
from slipway.datatypes import BY_NAME
from slipway.errors import SlipwayError, internal, invalid, shown, unsupported
from slipway.regions.region import RegionPlace
from slipway.regions.registry import Regions
from slipway.regions.request import PlacedInput, PlacedRequest
from slipway.wire.protobuf_contents import MAX_PARSED_BYTES, split_typed_contents
from slipway.wire.protobuf_split import fields, split_raw_contents
from slipway.wire.typed_contents import TYPED_FIELDS

_NO_REGIONS: Final = Regions()
_EMPTY_FINAL: Final = "triton_enable_empty_final_response"
_UINT64: Final = (1 << 64) - 1
_ID: Final = (3 << 3) | 2  # of ModelInferRequest

# Below this size the library's copies are cheaper than the scan in Python (0.3 us against 1.3 us for one small input).
_SPLIT_FROM_BYTES: Final = 32 * 1024


@dataclass(slots=True, eq=False)
class DecodedRequest:
    """An inference request with two settings for its response: the number of classes per output, and whether a stream
    also sends the empty final response."""

    request: InferRequest
    classes: dict[str, int] = field(default_factory=dict)
    empty_final: bool = False


def parse_request(payload: bytes) -> tuple[service_pb2.ModelInferRequest, Sequence[Raw]]:
    """Return the message and its raw tensor contents; raise `SlipwayError` (INTERNAL) if it cannot be parsed.

    The contents of a large message are views of `payload`, which they keep alive.
    """
    try:
        if len(payload) >= _SPLIT_FROM_BYTES:
            parts = split_raw_contents(payload)
            if (len(payload) if parts is None else len(parts[0])) > LARGE:
                return _parse_large(payload)
            if parts is not None:
                return service_pb2.ModelInferRequest.FromString(parts[0]), parts[1]
        message = service_pb2.ModelInferRequest.FromString(payload)
    except DecodeError:
        raise internal("Unable to parse request") from None
    return message, message.raw_input_contents


def _parse_large(payload: bytes) -> tuple[service_pb2.ModelInferRequest, Sequence[Raw]]:
    typed = split_typed_contents(payload)
    if typed is not None:
        return typed
    if len(payload) > MAX_PARSED_BYTES:
        raise invalid(
            f"a message with more than {MAX_PARSED_BYTES} bytes beside raw_input_contents must have the contents of "
            "every input in one packed field of its datatype; use raw_input_contents for large tensors"
        )
    message = service_pb2.ModelInferRequest.FromString(payload)
    return message, message.raw_input_contents


def is_large_work(payload: bytes) -> bool:
    """Return whether decoding a message of more than `LARGE` bytes takes long: typed contents or strings do, raw
    numbers do not."""
    parts = split_raw_contents(payload)
    if parts is None or len(parts[0]) > LARGE:
        return True
    try:
        message = service_pb2.ModelInferRequest.FromString(parts[0])
    except DecodeError:
        return False
    return any(tensor.datatype == "BYTES" for tensor in message.inputs)


def request_id(payload: bytes) -> str:
    """Return the id in a large message without parsing it; "" if it is too long or the message unusual."""
    found = ""
    try:
        for tag, _, value, stop in fields(payload, 0, len(payload)):
            if tag == _ID:
                found = payload[value:stop].decode() if stop - value <= LARGE else ""
    except (ValueError, IndexError, KeyError):
        return ""
    return found


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """A message that was read before: the model that it names, its id, and the request or its refusal."""

    model_name: str
    model_version: str
    id: str
    decoded: DecodedRequest | SlipwayError

    def decode(self, _: Regions) -> DecodedRequest:
        """Return the request; raise its refusal."""
        if isinstance(self.decoded, SlipwayError):
            raise self.decoded
        return self.decoded


def read_request(payload: bytes, regions: Regions = _NO_REGIONS) -> ReadRequest:
    """Parse, decode and check all of a large message; raise `SlipwayError` (INTERNAL) if it cannot be parsed."""
    message, raws = parse_request(payload)
    decoded: DecodedRequest | SlipwayError
    try:
        decoded = decode_request(message, raws, regions)
        decoded.request.count_strings()
    except SlipwayError as error:
        decoded = error.without_frames()
    return ReadRequest(message.model_name, message.model_version, message.id, decoded)


def decode_request(
    message: service_pb2.ModelInferRequest, raws: Sequence[Raw], regions: Regions = _NO_REGIONS
) -> DecodedRequest:
    """Return the request in a parsed message; raise `SlipwayError` with Triton's text if it is invalid."""
    request = InferRequest(message.model_name, requested_version(message.model_version), message.id)
    decoded = DecodedRequest(request)
    if message.parameters:
        take_parameters(decoded, message)
    inputs = request.inputs
    is_placed = False
    used = 0
    for tensor in message.inputs:
        name = tensor.name
        if name in inputs:
            raise invalid(f"{request.log_prefix}input '{shown(name)}' already exists in request")
        if tensor.parameters and (place := _place(tensor, regions, message.model_name)) is not None:
            inputs[name] = PlacedInput(name, _known(tensor.datatype), tuple(tensor.shape), place)
            is_placed = True
            continue
        if tensor.HasField("contents"):
            raw: Raw = _typed_contents(tensor, message.model_name, raws)
        elif used < len(raws):
            raw = raws[used]
            used += 1
        else:
            raise invalid(
                f"unable to find data for input tensor '{shown(name)}' for model '{message.model_name}' in request."
            )
        datatype = tensor.datatype
        inputs[name] = Tensor(name, datatype if datatype in BY_NAME else "<invalid>", tuple(tensor.shape), raw=raw)
    places = _take_outputs(decoded, message, regions) if message.outputs else {}
    if is_placed or places:
        decoded.request = PlacedRequest.of(request, places)
    return decoded


def _typed_contents(
    tensor: service_pb2.ModelInferRequest.InferInputTensor, model_name: str, raws: Sequence[Raw]
) -> bytes:
    if raws:
        raise invalid(
            "contents field must not be specified when using raw_input_contents for "
            f"'{shown(tensor.name)}' for model '{model_name}'"
        )
    raw = b""
    for field_name, datatypes in TYPED_FIELDS:
        values = getattr(tensor.contents, field_name)
        if not values:
            continue
        where = f"unexpected explicit tensor data for input tensor '{shown(tensor.name)}' for model '{model_name}'"
        if raw:
            raise invalid(f"{where}, binary data was already supplied.")
        if tensor.datatype not in datatypes:
            given = tensor.datatype if tensor.datatype in BY_NAME else "<invalid>"
            raise invalid(f"{where} of type '{datatypes[-1]}', expected datatype '{given}'")
        raw = _pack(values, tensor.datatype, widest=datatypes[-1])
    return raw


def _pack(values: Sequence[object], datatype: str, *, widest: str) -> bytes:
    if datatype == "BYTES":
        return encode_bytes(values)
    # Convert to the field's own type first, so that narrower integers keep the low bytes, as in Triton.
    wide, narrow = BY_NAME[widest].numpy, BY_NAME[datatype].numpy
    pieces = (values[start : start + LARGE_COUNT] for start in range(0, len(values), LARGE_COUNT))
    return b"".join(np.array(piece, wide).astype(narrow).tobytes() for piece in pieces)


def _known(datatype: str) -> str:
    """Return the datatype; an unknown one has Triton's name for it, which no model declares."""
    return datatype if datatype in BY_NAME else "<invalid>"


def _place(
    tensor: service_pb2.ModelInferRequest.InferInputTensor | service_pb2.ModelInferRequest.InferRequestedOutputTensor,
    regions: Regions,
    model_name: str = "",
) -> RegionPlace | None:
    """Return where a tensor is in shared memory, None if it is not; `model_name` is that of an input."""
    parameters, name = tensor.parameters, tensor.name
    where = f"parameter for tensor '{shown(name)}'"
    if "shared_memory_region" not in parameters:
        for key in ("shared_memory_byte_size", "shared_memory_offset"):
            if key in parameters:
                raise invalid(f"'{key}' can not be specified without 'shared_memory_region' {where}")
        return None
    if not parameters["shared_memory_region"].HasField("string_param"):
        raise invalid(f"invalid value type for 'shared_memory_region' {where}, expected string_param.")
    for key in ("shared_memory_byte_size", "shared_memory_offset"):
        if key in parameters and not parameters[key].HasField("int64_param"):
            raise invalid(f"invalid value type for '{key}' {where}, expected int64_param.")
    if "shared_memory_byte_size" not in parameters:
        raise invalid(f"'shared_memory_byte_size' must be specified along with 'shared_memory_region' {where}")
    if model_name and tensor.HasField("contents"):
        raise invalid(
            f"unexpected 'content' provided when using shared memory for input tensor '{shown(name)}' for model "
            f"'{model_name}'"
        )
    # As in Triton, a negative number stands for one beyond any region.
    offset = parameters["shared_memory_offset"].int64_param if "shared_memory_offset" in parameters else 0
    size = parameters["shared_memory_byte_size"].int64_param
    return regions.find(parameters["shared_memory_region"].string_param, offset & _UINT64, size & _UINT64)


def _take_outputs(
    decoded: DecodedRequest, message: service_pb2.ModelInferRequest, regions: Regions
) -> dict[str, RegionPlace]:
    """Take the requested outputs; return the places of those that go to shared memory."""
    names: dict[str, None] = {}
    places: dict[str, RegionPlace] = {}
    for output in message.outputs:
        names[output.name] = None
        if not output.parameters:
            continue
        if "classification" in output.parameters:
            count = output.parameters["classification"]
            if not count.HasField("int64_param"):
                raise invalid("invalid value type for 'classification' parameter, expected int64_param")
            if count.int64_param <= 0:
                raise invalid("invalid value for 'classification' parameter, expected >= 0")
            if "shared_memory_region" in output.parameters:
                raise invalid("output can't set both 'shared_memory_region' and 'classification'")
            decoded.classes[output.name] = count.int64_param
        if (place := _place(output, regions)) is not None:
            places[output.name] = place
    decoded.request.outputs = tuple(names)
    return places


def take_parameters(decoded: DecodedRequest, message: service_pb2.ModelInferRequest) -> None:
    """Take the parameters of a message; raise `SlipwayError` with Triton's text for an invalid one."""
    for key, value in message.parameters.items():
        reserved = _RESERVED.get(key)
        if reserved is not None:
            reserved(decoded, value)
        elif key.startswith("triton_"):
            raise invalid(
                "parameter keys starting with 'triton_' are reserved for Triton usage. Only the following keys "
                f"starting with 'triton_' are allowed: {_EMPTY_FINAL}"
            )
        else:
            kind = value.WhichOneof("parameter_choice")
            if kind is None or kind == "uint64_param":
                raise _wrong_type(key, "int64_param, bool_param, or string_param.")
            decoded.request.parameters[key] = getattr(value, kind)


def _wrong_type(key: str, expected: str) -> SlipwayError:
    return invalid(f"invalid value type for '{shown(key)}' parameter, expected {expected}")


def _sequence_id(decoded: DecodedRequest, value: service_pb2.InferParameter) -> None:
    kind = value.WhichOneof("parameter_choice")
    if kind == "int64_param":
        decoded.request.correlation_id = value.int64_param & _UINT64
    elif kind == "string_param":
        if len(value.string_param.encode()) > 128:
            raise unsupported("string correlation ID cannot be longer than 128 characters")
        decoded.request.correlation_id = value.string_param
    else:
        raise _wrong_type("sequence_id", "int64_param or string_param.")


def _sequence_flag(key: str, flag: int) -> Callable[[DecodedRequest, service_pb2.InferParameter], None]:
    def take(decoded: DecodedRequest, value: service_pb2.InferParameter) -> None:
        if not value.HasField("bool_param"):
            raise _wrong_type(key, "bool_param.")
        if value.bool_param:
            decoded.request.flags |= flag

    return take


def _priority(decoded: DecodedRequest, value: service_pb2.InferParameter) -> None:
    kind = value.WhichOneof("parameter_choice")
    if kind not in ("int64_param", "uint64_param"):
        raise _wrong_type("priority", "int64_param or uint64_param.")
    priority = getattr(value, kind)
    if priority < 0:
        raise invalid("invalid value for 'priority', expected value >= 0.")
    decoded.request.priority = priority


def _timeout(decoded: DecodedRequest, value: service_pb2.InferParameter) -> None:
    if not value.HasField("int64_param"):
        raise _wrong_type("timeout", "int64_param.")
    decoded.request.timeout_us = value.int64_param & _UINT64


def _empty_final(decoded: DecodedRequest, value: service_pb2.InferParameter) -> None:
    if not value.HasField("bool_param"):
        raise _wrong_type(_EMPTY_FINAL, "bool_param.")
    decoded.empty_final = value.bool_param


def _explain(decoded: DecodedRequest, value: service_pb2.InferParameter) -> None:
    if not value.HasField("bool_param"):
        raise _wrong_type(EXPLAIN, "bool_param.")
    decoded.request.explanation = Explanation() if value.bool_param else None


_RESERVED: Final = {
    "sequence_id": _sequence_id,
    "sequence_start": _sequence_flag("sequence_start", SEQUENCE_START),
    "sequence_end": _sequence_flag("sequence_end", SEQUENCE_END),
    "priority": _priority,
    "timeout": _timeout,
    _EMPTY_FINAL: _empty_final,
    EXPLAIN: _explain,
}
