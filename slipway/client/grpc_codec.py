"""KServe v2 over gRPC from the client's side: messages as bytes. Pure; the classes are the official ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from slipway.client.messages import Asked, Incoming, ModelInfo, Outgoing, ServerQuestion
from slipway.config.render import config_object
from slipway.core.explanation import EXPLAIN
from slipway.core.request import SEQUENCE_END, SEQUENCE_START, InferRequest, InferResponse, Parameter
from slipway.core.tensor import Tensor
from slipway.datatypes import BY_NAME
from slipway.errors import Code, SlipwayError, invalid, shown, unavailable
from slipway.wire.protobuf_response import FINAL_RESPONSE
from slipway.wire.typed_contents import FIELD_OF

_SERVICE: Final = "/inference.GRPCInferenceService/"
_EMPTY_FINAL: Final = "triton_enable_empty_final_response"
_INT64: Final = 2**63

# Name of a status -> code; the rest: INVALID_ARG.
STATUS_CODES: Final = {
    "CANCELLED": Code.CANCELLED,
    "UNKNOWN": Code.UNKNOWN,
    "DEADLINE_EXCEEDED": Code.UNAVAILABLE,
    "NOT_FOUND": Code.NOT_FOUND,
    "ALREADY_EXISTS": Code.ALREADY_EXISTS,
    "RESOURCE_EXHAUSTED": Code.UNAVAILABLE,
    "UNIMPLEMENTED": Code.UNSUPPORTED,
    "INTERNAL": Code.INTERNAL,
    "UNAVAILABLE": Code.UNAVAILABLE,
    "DATA_LOSS": Code.INTERNAL,
}

# ServerQuestion -> method, class of the answer.
_METHODS: Final = {
    "live": ("ServerLive", service_pb2.ServerLiveResponse),
    "ready": ("ServerReady", service_pb2.ServerReadyResponse),
    "model_ready": ("ModelReady", service_pb2.ModelReadyResponse),
    "server": ("ServerMetadata", service_pb2.ServerMetadataResponse),
    "metadata": ("ModelMetadata", service_pb2.ModelMetadataResponse),
    "config": ("ModelConfig", service_pb2.ModelConfigResponse),
    "statistics": ("ModelStatistics", service_pb2.ModelStatisticsResponse),
    "index": ("RepositoryIndex", service_pb2.RepositoryIndexResponse),
    "load": ("RepositoryModelLoad", service_pb2.RepositoryModelLoadResponse),
    "unload": ("RepositoryModelUnload", service_pb2.RepositoryModelUnloadResponse),
}
# What an answer is, where it is not all of the message.
_PARTS: Final = {"live": "live", "ready": "ready", "model_ready": "ready", "config": "config", "index": "models"}


class GrpcCodec:
    """Implements `Codec`."""

    def infer(self, request: InferRequest) -> Asked[InferResponse]:
        """Return the call of ModelInfer."""
        message = _request(request)
        return Asked(Outgoing(f"{_SERVICE}ModelInfer", (message.SerializeToString(),)), _read_infer)

    def stream(self, request: InferRequest, model: ModelInfo) -> Asked[InferResponse]:  # noqa: ARG002  HTTP needs it
        """Return the call of ModelStreamInfer, with one request."""
        message = _request(request)
        message.parameters[_EMPTY_FINAL].bool_param = True
        once = bool(request.correlation_id)
        outgoing = Outgoing(f"{_SERVICE}ModelStreamInfer", (message.SerializeToString(),), once=once)
        return Asked(outgoing, _read_stream, has_final=True)

    def ask(self, question: ServerQuestion) -> Asked[Any]:
        """Return the call of a method without tensors."""
        method, kind = _METHODS[question.name]
        part = _PARTS.get(question.name)

        def read(incoming: Incoming) -> Any:
            answer = config_object(_parsed(kind.FromString, incoming.body))
            return answer if part is None else answer[part]

        return Asked(Outgoing(_SERVICE + method, (_question(question).SerializeToString(),)), read)


def _request(request: InferRequest) -> service_pb2.ModelInferRequest:
    message = service_pb2.ModelInferRequest(
        model_name=request.model_name, model_version=request.model_version, id=request.id
    )
    for key, value in _all_parameters(request).items():
        _set(message.parameters[key], value)
    for tensor in request.inputs.values():
        message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        message.raw_input_contents.append(bytes(tensor.raw))
    for name in request.outputs:
        message.outputs.add(name=name)
    return message


def _all_parameters(request: InferRequest) -> dict[str, Parameter]:
    parameters = dict(request.parameters)
    if request.priority:
        parameters["priority"] = request.priority
    if request.timeout_us:
        parameters["timeout"] = request.timeout_us
    if request.correlation_id:
        number = request.correlation_id
        is_large = isinstance(number, int) and number >= _INT64  # 64 bits without a sign, in a field with one
        parameters["sequence_id"] = number - 2 * _INT64 if is_large and isinstance(number, int) else number
        parameters["sequence_start"] = bool(request.flags & SEQUENCE_START)
        parameters["sequence_end"] = bool(request.flags & SEQUENCE_END)
    return parameters


def _set(message: service_pb2.InferParameter, value: Parameter) -> None:
    if isinstance(value, bool):
        message.bool_param = value
    elif isinstance(value, int):
        if -_INT64 <= value < _INT64:
            message.int64_param = value
        elif 0 <= value < 2 * _INT64:
            message.uint64_param = value
        else:
            raise invalid(f"parameter value {value} has more than 64 bits")
    elif isinstance(value, float):
        message.double_param = value
    else:
        message.string_param = value


def _question(question: ServerQuestion) -> Any:
    model, version, arguments = question.model, question.version, question.arguments
    match question.name:
        case "live":
            return service_pb2.ServerLiveRequest()
        case "ready":
            return service_pb2.ServerReadyRequest()
        case "server":
            return service_pb2.ServerMetadataRequest()
        case "index":
            return service_pb2.RepositoryIndexRequest(ready=arguments["ready"])
        case "unload":
            unload = service_pb2.RepositoryModelUnloadRequest(model_name=model)
            unload.parameters["unload_dependents"].bool_param = arguments["unload_dependents"]
            return unload
        case "load":
            load = service_pb2.RepositoryModelLoadRequest(model_name=model)
            if arguments["config"] is not None:
                load.parameters["config"].string_param = arguments["config"]
            for name, content in arguments["files"].items():
                load.parameters[f"file:{name}"].bytes_param = content
            return load
    kinds: dict[str, Callable[..., Any]] = {
        "model_ready": service_pb2.ModelReadyRequest,
        "metadata": service_pb2.ModelMetadataRequest,
        "config": service_pb2.ModelConfigRequest,
        "statistics": service_pb2.ModelStatisticsRequest,
    }
    return kinds[question.name](name=model, version=version)


# Answers


def _parsed(parse: Callable[[bytes], Any], body: bytes) -> Any:
    try:
        return parse(body)
    except DecodeError:
        raise unavailable("the server sent a message that is not of the protocol") from None


def _read_infer(incoming: Incoming) -> InferResponse:
    return _response(_parsed(service_pb2.ModelInferResponse.FromString, incoming.body))


def _read_stream(incoming: Incoming) -> InferResponse:
    message = _parsed(service_pb2.ModelStreamInferResponse.FromString, incoming.body)
    if message.error_message:
        unknown = "unknown model" in message.error_message  # a stream's errors have no code
        raise SlipwayError(Code.NOT_FOUND if unknown else Code.UNKNOWN, message.error_message)
    response = _response(message.infer_response)
    response.final = bool(response.parameters.pop(FINAL_RESPONSE, False))
    response.empty = response.final and not response.outputs and EXPLAIN not in response.parameters
    return response


def _response(message: service_pb2.ModelInferResponse) -> InferResponse:
    parameters = {key: _value(value) for key, value in message.parameters.items()}
    response = InferResponse(message.model_name, message.model_version, message.id, parameters=parameters)
    is_raw = bool(message.raw_output_contents)
    if is_raw and len(message.raw_output_contents) != len(message.outputs):
        raise unavailable("the response has another number of raw contents than of outputs")
    for place, output in enumerate(message.outputs):
        shape = tuple(output.shape)
        if output.datatype not in BY_NAME:
            raise unavailable(f"output '{shown(output.name)}' has an unknown datatype {shown(output.datatype)}")
        if is_raw:
            tensor = Tensor(output.name, output.datatype, shape, raw=message.raw_output_contents[place])
        else:
            tensor = Tensor(output.name, output.datatype, shape, array=_contents(output, shape))
        response.outputs.append(tensor)
    return response


def _contents(output: Any, shape: tuple[int, ...]) -> np.ndarray:
    values = list(getattr(output.contents, FIELD_OF[output.datatype])) if output.datatype in FIELD_OF else []
    array = np.empty(len(values), dtype=BY_NAME[output.datatype].numpy)
    try:
        array[:] = values
        return array.reshape(shape)
    except (ValueError, OverflowError):
        text = f"the {len(values)} elements of output '{shown(output.name)}' are not {output.datatype} {list(shape)}"
        raise unavailable(text) from None


def _value(message: service_pb2.InferParameter) -> Parameter:
    field = message.WhichOneof("parameter_choice")
    value: Parameter = "" if field is None else getattr(message, field)
    return value
