"""What both servers are asked about shared memory, good and bad, over HTTP and gRPC.

A case begins without regions, registers what `given` lists, asks one question, and ends with the status of all regions
and the bytes of both memories, which are compared too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tritonclient.grpc import service_pb2 as pb

from tests.reference.grpc_cases import GrpcCase, parameter
from tests.reference.http_cases import HttpCase

KEY = "slipway-reference-region"
OTHER_KEY = f"{KEY}-2"  # Triton 2.51 cannot open the same memory twice
PAGE = 4096
SIZE = 2 * PAGE  # of each memory
_RESERVED = "triton_python_backend_shm_region_"
_ROOT = "/v2/systemsharedmemory"

# Name, key, offset, size.
Given = tuple[tuple[str, str, int, int], ...]
REGION: Given = (("r", KEY, 0, 256),)
# Not at an offset: Triton 2.51 adds it twice, and would read and write behind the region.
TWO: Given = (*REGION, ("second", OTHER_KEY, 0, PAGE))


@dataclass(frozen=True, slots=True)
class RegionCase:
    """A question to both servers."""

    id: str
    question: HttpCase | GrpcCase
    given: Given = REGION


def registrations() -> Iterator[tuple[str, str, dict[str, Any], Given]]:
    """Yield what is registered: case, name, fields, and what is there before."""
    for offset, size in (
        (0, 256), (0, SIZE), (PAGE, PAGE), (0, 1), (0, SIZE + 1), (1, SIZE), (SIZE, 1), (SIZE + 1, 0), (0, 0),
        (PAGE, 0), (64, 8), (PAGE, PAGE + 1), (0, 2**63), (2**63 - PAGE, PAGE), (0, 2**64 - 1), (2**64 - 32, 32),
        (2**64 - 1, 1),
    ):  # fmt: skip
        yield f"{size} bytes at {offset}", "r", {"key": KEY, "offset": offset, "byte_size": size}, ()
    for key in (
        "", "/", "///", f"/{KEY}", f"///{KEY}", f"{KEY}/", f"x/{KEY}", f"../shm/{KEY}", "/../../etc/passwd",
        "absent-region", ".", "..", _RESERVED, f"/{_RESERVED}x", f"//{_RESERVED}x", f"my-{_RESERVED}", "x" * 255, "ü",
    ):  # fmt: skip
        yield f"key '{key[:40]}'", "r", {"key": key, "byte_size": 256}, ()
    yield "without an offset", "r", {"key": KEY, "byte_size": 64}, ()
    yield "twice", "r", {"key": KEY, "byte_size": 256}, REGION
    yield "twice with another place", "r", {"key": KEY, "offset": PAGE, "byte_size": 64}, REGION
    yield "a second one of the same memory", "s", {"key": KEY, "byte_size": 256}, REGION
    yield "a long name", "n" * 200, {"key": KEY, "byte_size": 256}, ()


def _http_registrations() -> Iterator[RegionCase]:
    for name, region, fields, given in registrations():
        path = f"{_ROOT}/region/{region}/register"
        yield RegionCase(f"register {name}", HttpCase("", path, body=json.dumps(fields).encode()), given)
    for name, body in {
        "no body": b"",
        "nothing": b"{}",
        "no key": b'{"byte_size": 8}',
        "no size": json.dumps({"key": KEY}).encode(),
        "key of a number": b'{"key": 5, "byte_size": 8}',
        "key null": b'{"key": null, "byte_size": 8}',
        "size of a text": json.dumps({"key": KEY, "byte_size": "8"}).encode(),
        "size negative": json.dumps({"key": KEY, "byte_size": -8}).encode(),
        "size of a fraction": json.dumps({"key": KEY, "byte_size": 8.5}).encode(),
        "size true": json.dumps({"key": KEY, "byte_size": True}).encode(),
        "size null": json.dumps({"key": KEY, "byte_size": None}).encode(),
        "offset of a text": json.dumps({"key": KEY, "byte_size": 8, "offset": "0"}).encode(),
        "offset negative": json.dumps({"key": KEY, "byte_size": 8, "offset": -4096}).encode(),
        "offset null": json.dumps({"key": KEY, "byte_size": 8, "offset": None}).encode(),
        "another member": json.dumps({"key": KEY, "byte_size": 8, "color": "red"}).encode(),
    }.items():
        yield RegionCase(f"register with {name}", HttpCase("", f"{_ROOT}/region/r/register", body=body), ())
    for path in ("register", "region/r/remove", "region//register", "regions/r/register", "region/r/register/"):
        body = json.dumps({"key": KEY, "byte_size": 8}).encode()
        yield RegionCase(f"register at {path}", HttpCase("", f"{_ROOT}/{path}", body=body), ())


def _http_management() -> Iterator[RegionCase]:
    for given in ((), REGION, TWO):
        for path in ("status", "region/r/status", "region/second/status", "region/absent/status"):
            question = HttpCase("", f"{_ROOT}/{path}", "GET")
            yield RegionCase(f"{path} of {len(given)}", question, given)
        for path in ("unregister", "region/r/unregister", "region/second/unregister", "region/absent/unregister"):
            yield RegionCase(f"{path} of {len(given)}", HttpCase("", f"{_ROOT}/{path}"), given)
    for method, path in (("POST", "status"), ("GET", "unregister"), ("GET", "region/r/register"), ("PUT", "status")):
        yield RegionCase(f"{method} {path}", HttpCase("", f"{_ROOT}/{path}", method), REGION)
    yield RegionCase("cuda status", HttpCase("", "/v2/cudasharedmemory/status", "GET"), REGION)
    yield RegionCase("cuda status of r", HttpCase("", "/v2/cudasharedmemory/region/r/status", "GET"), REGION)
    yield RegionCase("cuda status of absent", HttpCase("", "/v2/cudasharedmemory/region/absent/status", "GET"))
    yield RegionCase("cuda unregister", HttpCase("", "/v2/cudasharedmemory/unregister"), REGION)
    yield RegionCase("cuda unregister r", HttpCase("", "/v2/cudasharedmemory/region/r/unregister"), REGION)


# Where tensors are: region, offset, size. A float row [1, 4] takes 16 bytes.
PLACES: dict[str, tuple[object, object, object]] = {
    "whole": ("r", None, 16),
    "at 16": ("r", 16, 16),
    "at the end": ("r", 240, 16),
    "beyond the end by one": ("r", 241, 16),
    "at the region's size": ("r", 256, 0),
    "after it": ("r", 1000, 16),
    "too long": ("r", 0, 257),
    "too short": ("r", 0, 15),
    "longer than needed": ("r", 0, 32),
    "empty": ("r", 0, 0),
    "in no region": ("absent", 0, 16),
    "in a region without name": ("", 0, 16),
    "without size": ("r", 0, None),
    "of another region": ("second", 0, 16),
    "with a region of a number": (5, 0, 16),
    "with an offset of a text": ("r", "0", 16),
    "with a size of a text": ("r", 0, "16"),
    "at a negative offset": ("r", -16, 16),
    "with a negative size": ("r", 0, -16),
    "with a negative size and an offset": ("r", 32, -32),
}
# Only JSON carries them.
HTTP_PLACES = {
    "at 2^64 - 32": ("r", 2**64 - 32, 32),
    "with 2^64 - 32 bytes": ("r", 32, 2**64 - 32),
    "at 2^64": ("r", 2**64, 16),
    "with a fraction": ("r", 0.5, 16),
    "with the region alone": ("r", None, None),
}
_A, _B = ({"name": name, "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]} for name in "AB")
_PATH = "/v2/models/pair/infer"


def _keys(place: tuple[object, object, object]) -> dict[str, object]:
    fields = zip(("shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"), place, strict=True)
    return {key: value for key, value in fields if value is not None}


def _http_inference() -> Iterator[RegionCase]:
    def infer(name: str, **members: object) -> RegionCase:
        return RegionCase(name, HttpCase("", _PATH, body=json.dumps(members).encode()), TWO)

    for name, place in (PLACES | HTTP_PLACES).items():
        source = {"name": "A", "datatype": "FP32", "shape": [1, 4], "parameters": _keys(place)}
        yield infer(f"input {name}", inputs=[source, _B])
        target = {"name": "SUM", "parameters": _keys(place)}
        yield infer(f"output {name}", inputs=[_A, _B], outputs=[target])
        yield infer(f"output {name}, another as JSON", inputs=[_A, _B], outputs=[{"name": "DIFF"}, target])
    good = _keys(("r", 32, 16))
    placed = {"name": "B", "datatype": "FP32", "shape": [1, 4], "parameters": good}
    target = {"name": "SUM", "parameters": good}
    yield infer("both inputs and outputs", inputs=[_A, placed], outputs=[target, {"name": "DIFF", "parameters": good}])
    yield infer("a wrong datatype", inputs=[_A, {**placed, "datatype": "INT32"}])
    yield infer("an unknown datatype", inputs=[_A, {**placed, "datatype": "FP33"}])
    yield infer("a wrong shape", inputs=[_A, {**placed, "shape": [1, 3]}])
    yield infer("with data too", inputs=[_A, {**placed, "data": [1, 2, 3, 4]}])
    yield infer("with a binary size too", inputs=[_A, {**placed, "parameters": {**good, "binary_data_size": 16}}])
    yield infer(
        "output with classes", inputs=[_A, _B], outputs=[{**target, "parameters": {**good, "classification": 1}}]
    )
    for binary in (True, False):
        parameters = {**good, "binary_data": binary}
        yield infer(
            f"output with binary_data {binary}", inputs=[_A, _B], outputs=[{**target, "parameters": parameters}]
        )
    yield infer(
        "output with binary outputs", inputs=[_A, _B], outputs=[target], parameters={"binary_data_output": True}
    )
    yield infer("an unknown output", inputs=[_A, _B], outputs=[{**target, "name": "NO"}])
    texts = {"name": "IN", "datatype": "BYTES", "shape": [1, 2], "parameters": _keys(("r", 64, 16))}
    body = json.dumps({"inputs": [texts]}).encode()
    yield RegionCase("strings that are not there", HttpCase("", "/v2/models/bytes/infer", body=body))


def http_cases() -> list[RegionCase]:
    """Return every case over HTTP; ids are unique."""
    return [*_http_registrations(), *_http_management(), *_http_inference()]


def _call(name: str, method: str, message: object, given: Given = REGION) -> RegionCase:
    return RegionCase(name, GrpcCase("", method, message), given)


def _grpc_management() -> Iterator[RegionCase]:
    for name, region, fields, given in registrations():
        message = pb.SystemSharedMemoryRegisterRequest(name=region, **fields)
        yield _call(f"register {name}", "SystemSharedMemoryRegister", message, given)
    for given in ((), REGION, TWO):
        for region in ("", "r", "second", "absent"):
            message = pb.SystemSharedMemoryStatusRequest(name=region)
            yield _call(f"status of '{region}' of {len(given)}", "SystemSharedMemoryStatus", message, given)
            message = pb.SystemSharedMemoryUnregisterRequest(name=region)
            yield _call(f"unregister '{region}' of {len(given)}", "SystemSharedMemoryUnregister", message, given)
    for region in ("", "r", "absent"):
        yield _call(
            f"cuda status of '{region}'", "CudaSharedMemoryStatus", pb.CudaSharedMemoryStatusRequest(name=region)
        )
        message = pb.CudaSharedMemoryUnregisterRequest(name=region)
        yield _call(f"cuda unregister '{region}'", "CudaSharedMemoryUnregister", message)


def _message(*, inputs: bool, **places: tuple[object, object, object]) -> pb.ModelInferRequest:
    """Return a request for the model `pair`, whose tensors in `places` are in shared memory."""
    message = pb.ModelInferRequest(model_name="pair")
    for name in "AB":
        entry = message.inputs.add(name=name, datatype="FP32", shape=[1, 4])
        if inputs and name in places:
            _place(entry, places[name])
        else:
            message.raw_input_contents.append(b"\0\0\x80?" * 4)
    for name in places if not inputs else ():
        _place(message.outputs.add(name=name), places[name])
    return message


def _place(entry: Any, place: tuple[object, object, object]) -> None:
    for key, value in _keys(place).items():
        kind = {str: "string_param", int: "int64_param"}[type(value)]
        entry.parameters[key].CopyFrom(parameter(**{kind: value}))


def _grpc_inference() -> Iterator[RegionCase]:
    def infer(name: str, message: pb.ModelInferRequest) -> RegionCase:
        return _call(name, "ModelInfer", message, TWO)

    for name, place in PLACES.items():
        yield infer(f"input {name}", _message(inputs=True, A=place))
        yield infer(f"output {name}", _message(inputs=False, SUM=place))
        yield infer(
            f"output {name}, another in the message", _message(inputs=False, SUM=place, DIFF=(None, None, None))
        )
        stream = (_message(inputs=True, B=place),)
        yield RegionCase(f"stream input {name}", GrpcCase("", "ModelStreamInfer", stream), TWO)
    good = ("r", 32, 16)
    message = _message(inputs=True, A=good)
    message.inputs[0].contents.fp32_contents.extend([1, 2, 3, 4])
    yield infer("with contents too", message)
    yield infer("both outputs", _message(inputs=False, SUM=("r", 0, 16), DIFF=("r", 16, 16)))
    yield infer("both inputs", _message(inputs=True, A=("r", 0, 16), B=("r", 16, 16)))
    message = _message(inputs=False, SUM=good)
    message.outputs[0].parameters["classification"].int64_param = 1
    yield infer("output with classes", message)
    message = _message(inputs=True, A=good)
    message.raw_input_contents.append(b"\0\0\x80?" * 4)
    yield infer("with raw contents for all", message)


def grpc_cases() -> list[RegionCase]:
    """Return every case over gRPC; ids are unique."""
    return [*_grpc_management(), *_grpc_inference()]
