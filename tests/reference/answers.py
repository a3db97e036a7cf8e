"""Send a case to a server and bring the answer into a form that two servers can be compared by."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import zlib
from dataclasses import dataclass

import grpc
import numpy as np
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from tritonclient.grpc import service_pb2_grpc

from tests.reference.grpc_cases import GrpcCase
from tests.reference.http_cases import HttpCase

TIMEOUT_S = 20
OK = 200
_FP32_MAX = float(np.finfo(np.float32).max)
_UNPACK = {"gzip": gzip.decompress, "deflate": zlib.decompress}  # two libraries may pack the same bytes differently
SHOWN_HEADERS = ("Content-Type", "Inference-Header-Content-Length", "Content-Encoding", "Accept-Encoding")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client can see of an answer."""

    status: str
    content: object

    def __str__(self) -> str:
        return f"{self.status} {self.content!r}"


# A traceback names where each server keeps the model; the file name and line stay.
_PATH = re.compile(r"[^\s:()]*/(?=[^\s/]+\.py)")


def _neutral(text: str) -> str:
    return _PATH.sub("", text)


def ask_http(port: int, case: HttpCase) -> Answer:
    """Return the answer to an HTTP case: status, chosen headers, and the body decoded where it is JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request(case.method, case.path, body=case.body, headers=case.headers)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    headers = {name: response.headers[name] for name in SHOWN_HEADERS if name in response.headers}
    if unpack := _UNPACK.get(headers.get("Content-Encoding", "")):
        body = unpack(body)
    if response.status != OK or not body:
        headers.pop("Content-Type", None)  # see differences.py
    return Answer(str(response.status), (headers, _content(headers, body)))


def _content(headers: dict[str, str], body: bytes) -> object:
    size = headers.pop("Inference-Header-Content-Length", None)
    if size is not None:
        return _json(body[: int(size)]), body[int(size) :]
    if body.startswith((b"{", b"[")):
        return _json(body)
    if body.startswith(b"data: "):
        return [_json(event.removeprefix(b"data: ")) for event in body.removesuffix(b"\n\n").split(b"\n\n")]
    return _neutral(body.decode(errors="backslashreplace"))


def _json(text: bytes) -> object:
    readable = _neutral(text.decode(errors="backslashreplace"))
    try:
        return json.loads(readable, parse_float=_as_fp32, parse_constant=str)
    except ValueError:  # what is not JSON is compared as it is
        return readable


def _as_fp32(text: str) -> float:
    """Return a number as FP32 holds it; one beyond its range (an FP64 output) as it is."""
    value = float(text)
    return value if abs(value) > _FP32_MAX else float(np.float32(value))


def ask_grpc(stub: service_pb2_grpc.GRPCInferenceServiceStub, case: GrpcCase) -> Answer:
    """Return the answer to a gRPC case: status code, details, and the message or messages."""
    call = getattr(stub, case.method)
    try:
        if isinstance(case.request, tuple):
            stream = call(iter(case.request), timeout=TIMEOUT_S, metadata=case.metadata)
            answers: list[object] = []
            try:
                answers.extend(_message(message) for message in stream)
            except grpc.RpcError as error:
                answers.append((error.code().name, _neutral(error.details() or "")))
            return Answer("STREAM", answers)
        return Answer("OK", _message(call(case.request, timeout=TIMEOUT_S, metadata=case.metadata)))
    except grpc.RpcError as error:
        return Answer(error.code().name, _neutral(error.details() or ""))


def _message(message: Message) -> object:
    return _neutral_values(MessageToDict(message, preserving_proto_field_name=True))


def _neutral_values(value: object) -> object:
    if isinstance(value, dict):
        return {key: _neutral_values(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_neutral_values(item) for item in value]
    return _neutral(value) if isinstance(value, str) else value
