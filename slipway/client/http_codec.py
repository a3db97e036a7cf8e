"""KServe v2 over HTTP from the client's side: requests as JSON with binary tensors after it, and their answers.

Pure: bytes in, values out. Source: Triton `protocol/extension_binary_data.md`, `extension_generate.md`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

import numpy as np
import orjson

from slipway.client.http_exchange import HEADER_LENGTH
from slipway.client.messages import Asked, Incoming, ModelInfo, Outgoing, ServerQuestion
from slipway.core.request import SEQUENCE_END, SEQUENCE_START, InferRequest, InferResponse
from slipway.core.tensor import Tensor
from slipway.datatypes import BY_NAME
from slipway.errors import Code, SlipwayError, invalid, shown, unavailable

_LENGTH: Final = "Inference-Header-Content-Length"
_BINARY: Final = (("Content-Type", "application/octet-stream"),)
_JSON: Final = (("Content-Type", "application/json"),)
_CODES: Final = {
    404: Code.NOT_FOUND,
    408: Code.UNAVAILABLE,
    409: Code.ALREADY_EXISTS,
    429: Code.UNAVAILABLE,
    499: Code.CANCELLED,
    501: Code.UNSUPPORTED,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.UNAVAILABLE,
}  # the rest: INTERNAL from 500, INVALID_ARG below
_UNKNOWN_MODEL: Final = "unknown model"  # Triton answers 400

# ServerQuestion -> method, path after the server's or the model's, whether its answer is only a status.
_ROUTES: Final = {
    "live": ("GET", "/v2/health/live", True),
    "ready": ("GET", "/v2/health/ready", True),
    "model_ready": ("GET", "/ready", True),
    "server": ("GET", "/v2", False),
    "metadata": ("GET", "", False),
    "config": ("GET", "/config", False),
    "statistics": ("GET", "/stats", False),
    "index": ("POST", "/v2/repository/index", False),
    "load": ("POST", "/load", False),
    "unload": ("POST", "/unload", False),
}
_OF_REPOSITORY: Final = ("load", "unload")
_BODIES: Final = ("index", "load", "unload")


class HttpCodec:
    """Implements `Codec`."""

    def infer(self, request: InferRequest) -> Asked[InferResponse]:
        """Return the call of the route infer."""
        document: dict[str, Any] = {"id": request.id} if request.id else {}
        parameters = _parameters(request)
        inputs = []
        blobs = []
        for tensor in request.inputs.values():
            raw = tensor.raw
            sizes = {"binary_data_size": len(raw)}
            inputs.append(
                {"name": tensor.name, "shape": tensor.shape, "datatype": tensor.datatype, "parameters": sizes}
            )
            blobs.append(raw)
        if not request.outputs:
            parameters["binary_data_output"] = True
        if parameters:  # before the tensors: a server may know the rest already
            document["parameters"] = parameters
        document["inputs"] = inputs
        if request.outputs:
            document["outputs"] = [{"name": name, "parameters": {"binary_data": True}} for name in request.outputs]
        head = orjson.dumps(document)
        path = f"{model_path(request.model_name, request.model_version)}/infer"
        headers = (*_BINARY, (_LENGTH, str(len(head))))
        once = bool(request.correlation_id)
        return Asked(Outgoing(path, (head, *blobs), headers=headers, once=once), read_infer)

    def stream(self, request: InferRequest, model: ModelInfo) -> Asked[InferResponse]:
        """Return the call of the route generate_stream, whose values have no shape of their own."""
        document: dict[str, Any] = {"id": request.id} if request.id else {}
        document.update(_parameters(request))
        for tensor in request.inputs.values():
            document[tensor.name] = _plain(tensor)
        path = f"{model_path(request.model_name, request.model_version)}/generate_stream"
        types = {output.name: output.datatype for output in model.outputs}
        wanted = request.outputs or tuple(types)

        def read(incoming: Incoming) -> InferResponse:
            return _event(incoming, {name: types[name] for name in wanted if name in types})

        once = bool(request.correlation_id)
        return Asked(Outgoing(path, (orjson.dumps(document),), headers=_JSON, once=once), read)

    def ask(self, question: ServerQuestion) -> Asked[Any]:
        """Return the call of a route without tensors."""
        method, path, is_status = _ROUTES[question.name]
        if question.name in _OF_REPOSITORY:
            path = f"/v2/repository/models/{quote(question.model, safe='')}{path}"
        elif question.name == "statistics" and not question.model:
            path = "/v2/models/stats"
        elif question.model:
            path = model_path(question.model, question.version) + path
        parts = (_body(question),) if question.name in _BODIES else ()
        read: Callable[[Incoming], Any] = _is_ok if is_status else _answer
        once = question.name in _OF_REPOSITORY
        return Asked(Outgoing(path, parts, method, _JSON if parts else (), once=once), read)


def model_path(model: str, version: str) -> str:
    """Return the path of a model's routes; characters of the names that have a meaning in paths are quoted."""
    return f"/v2/models/{quote(model, safe='')}" + (f"/versions/{quote(version, safe='')}" if version else "")


def _parameters(request: InferRequest) -> dict[str, Any]:
    parameters: dict[str, Any] = dict(request.parameters)
    if request.priority:
        parameters["priority"] = request.priority
    if request.timeout_us:
        parameters["timeout"] = request.timeout_us
    if request.correlation_id:
        parameters["sequence_id"] = request.correlation_id
        parameters["sequence_start"] = bool(request.flags & SEQUENCE_START)
        parameters["sequence_end"] = bool(request.flags & SEQUENCE_END)
    return parameters


def _plain(tensor: Tensor) -> Any:
    """Return a tensor as the value of a flat JSON document; raise INVALID_ARG for bytes that JSON cannot carry."""
    if tensor.datatype != "BYTES":
        array = tensor.array
        return (array.astype(np.float32) if array.dtype.kind == "V" or array.dtype == np.float16 else array).tolist()
    try:
        return _texts(tensor.array.tolist())
    except UnicodeDecodeError:
        raise invalid(f"input '{tensor.name}' is not valid UTF-8, and streams over HTTP are JSON: use gRPC") from None


def _texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_texts(each) for each in value]
    return value.decode() if isinstance(value, bytes) else value


def _body(question: ServerQuestion) -> bytes:
    arguments = question.arguments
    if question.name == "index":
        return orjson.dumps({"ready": arguments["ready"]})
    if question.name == "unload":
        return orjson.dumps({"parameters": {"unload_dependents": arguments["unload_dependents"]}})
    parameters: dict[str, str] = {}
    if arguments["config"] is not None:
        parameters["config"] = arguments["config"]
    for name, content in arguments["files"].items():
        parameters[f"file:{name}"] = base64.b64encode(content).decode()
    return orjson.dumps({"parameters": parameters})


# Answers


def error_of(incoming: Incoming) -> SlipwayError:
    """Return the error that a server answers with."""
    text = incoming.body.removeprefix(b"data:")
    try:
        message = str(orjson.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        message = shown(incoming.body.decode(errors="replace").strip()) or f"HTTP status {incoming.status}"
    status = incoming.status
    code = _CODES.get(status, Code.INTERNAL if status >= 500 else Code.INVALID_ARG)
    return SlipwayError(Code.NOT_FOUND if _UNKNOWN_MODEL in message else code, message)


def _is_ok(incoming: Incoming) -> bool:
    if incoming.status in (401, 403):
        raise error_of(incoming)
    return incoming.status == 200


def _answer(incoming: Incoming) -> Any:
    if incoming.status != 200:
        raise error_of(incoming)
    return _document(incoming.body) if incoming.body else {}


def _document(text: bytes | memoryview) -> Any:
    try:
        return orjson.loads(text)
    except ValueError:
        raise unavailable("an HTTP server that is not an inference server answers") from None


def read_infer(incoming: Incoming) -> InferResponse:
    """Return the response in the answer of the route infer; raise UNAVAILABLE if it is not of the protocol."""
    if incoming.status != 200:
        raise error_of(incoming)
    body = memoryview(incoming.body)
    try:
        length = int(incoming.headers.get(HEADER_LENGTH, len(body)))
        document = _document(body[:length])
        response = InferResponse(
            str(document["model_name"]),
            str(document.get("model_version", "")),
            str(document.get("id", "")),
            parameters=dict(document.get("parameters", {})),
        )
        offset = length
        for output in document.get("outputs", ()):
            size = output.get("parameters", {}).get("binary_data_size")
            response.outputs.append(_output(output, None if size is None else body[offset : offset + size]))
            offset += size or 0
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise unavailable(f"the response is not of the protocol: {type(error).__name__}: {shown(error)}") from None
    if offset != len(body):
        raise unavailable(f"the response has {len(body) - length} bytes of tensors, its JSON says {offset - length}")
    return response


def _output(output: Mapping[str, Any], raw: memoryview | None) -> Tensor:
    name, datatype = str(output["name"]), str(output["datatype"])
    shape = tuple(map(int, output["shape"]))
    if datatype not in BY_NAME:
        raise ValueError(f"output '{name}' has an unknown datatype {shown(datatype)}")
    if raw is not None:
        return Tensor(name, datatype, shape, raw=raw)
    return Tensor(name, datatype, shape, array=_array(output.get("data", []), datatype).reshape(shape))


def _array(data: Any, datatype: str) -> np.ndarray:
    if datatype != "BYTES":
        return np.asarray(data, dtype=BY_NAME[datatype].numpy)
    flat = np.array(data, dtype=np.object_)
    flat.ravel()[:] = [str(element).encode() for element in flat.ravel().tolist()]
    return flat


def _event(incoming: Incoming, types: Mapping[str, str]) -> InferResponse:
    if incoming.status != 200:
        raise error_of(incoming)
    event = _document(incoming.body)
    if not isinstance(event, dict):
        raise unavailable("the server sent an event that is not a JSON object")
    if event.keys() == {"error"}:
        raise SlipwayError(Code.UNKNOWN, str(event["error"]))  # a stream's errors have no code
    try:
        outputs = [_flat(name, event[name], kind) for name, kind in types.items() if name in event]
    except (TypeError, ValueError, OverflowError) as error:
        raise unavailable(f"the server sent an event that is not of the protocol: {shown(error)}") from None
    rest = {key: value for key, value in event.items() if key not in types and isinstance(value, str | int | float)}
    model, version = str(rest.pop("model_name", "")), str(rest.pop("model_version", ""))
    return InferResponse(model, version, str(rest.pop("id", "")), outputs, rest, final=False)


def _flat(name: str, value: Any, datatype: str) -> Tensor:
    array = np.atleast_1d(_array(value, datatype))
    return Tensor(name, datatype, array.shape, array=array)
