"""The HTTP requests that both servers get, good and bad, as a table of bytes."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from tests.reference.models import TYPES


@dataclass(frozen=True, slots=True)
class HttpCase:
    """One request; `body` is sent as it stands."""

    id: str
    path: str
    method: str = "POST"
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


NUMPY = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}


def tensor(name: str, datatype: str, shape: object, data: object = None, **parameters: object) -> dict[str, object]:
    """Return one input of a JSON request."""
    entry: dict[str, object] = {"name": name, "datatype": datatype, "shape": shape}
    if data is not None:
        entry["data"] = data
    if parameters:
        entry["parameters"] = parameters
    return entry


def infer(id: str, model: str, request: object, blobs: bytes = b"", **headers: str) -> HttpCase:  # noqa: A002
    """Return an infer request; with `blobs` the JSON is followed by binary tensors."""
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    extra = {name.replace("_", "-"): value for name, value in headers.items()}
    if blobs:
        extra.setdefault("Inference-Header-Content-Length", str(len(body)))
    return HttpCase(id, f"/v2/models/{model}/infer", body=body + blobs, headers=extra)


ONES = np.ones((1, 4), np.float32)
PAIR = [tensor("A", "FP32", [1, 4], [1, 2, 3, 4]), tensor("B", "FP32", [1, 4], [4, 3, 2, 1])]


def pair(**fields: object) -> dict[str, object]:
    """Return a valid request to `pair` with more or other top-level fields."""
    return {"inputs": PAIR, **fields}


def echo(datatype: str, shape: object, data: object) -> dict[str, object]:
    """Return a request to one of the echo models."""
    return {"inputs": [tensor("IN", datatype, shape, data)]}


def routes() -> Iterator[HttpCase]:
    """Every route, wrong methods, unknown paths."""
    gets = [
        "/v2",
        "/v2/",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/health",
        "/v2/models/pair",
        "/v2/models/pair/",
        "/v2/models/pair/ready",
        "/v2/models/pair/config",
        "/v2/models/pair/versions/1",
        "/v2/models/pair/versions/1/ready",
        "/v2/models/pair/versions/1/config",
        "/v2/models/pair/versions/9",
        "/v2/models/pair/versions/9/ready",
        "/v2/models/pair/versions/9/config",
        "/v2/models/pair/versions/9/stats",
        "/v2/models/pair/versions/x",
        "/v2/models/pair/versions/",
        "/v2/models/nosuch",
        "/v2/models/nosuch/ready",
        "/v2/models/nosuch/config",
        "/v2/models/nosuch/stats",
        "/v2/models/chain",
        "/v2/models/chain/ready",
        "/v2/models/repeat",
        "/v2/models/versions",
        "/v2/models/versions/versions/1",
        "/v2/models/versions/versions/2",
        "/v2/models/versions/versions/3/ready",
        "/v2/models/optional",
        "/v2/models/reshaped",
        "/v2/models/echo_bytes",
        "/v2/models",
        "/v1/models",
        "/",
        "/v2/nonsense",
        "/v2/models/pair/nonsense",
        "//v2",
        "/V2",
        "/v2/repository/index",
        "/v2/repository/models/pair/load",
    ]
    for path in gets:
        yield HttpCase(f"get {path}", path, "GET")
    for name in (
        "chain",
        "batched",
        "repeat",
        "versions",
        "optional",
        "reshaped",
        "labelled",
        "nobatch",
        "moody_chain",
    ):
        yield HttpCase(f"config {name}", f"/v2/models/{name}/config", "GET")
    for method in ("POST", "PUT", "DELETE"):
        for path in ("/v2", "/v2/health/live", "/v2/models/pair", "/v2/models/pair/config", "/v2/models/pair/ready"):
            yield HttpCase(f"{method} {path}", path, method)
    for path in ("/v2/models/pair/infer", "/v2/models/pair/generate", "/v2/models/pair/generate_stream"):
        yield HttpCase(f"get {path}", path, "GET")
        yield HttpCase(f"empty {path}", path)


def repository() -> Iterator[HttpCase]:
    """The repository extension in mode `none`, where loading is refused."""
    yield HttpCase("index", "/v2/repository/index")
    yield HttpCase("index ready", "/v2/repository/index", body=b'{"ready": true}')
    yield HttpCase("index not ready", "/v2/repository/index", body=b'{"ready": false}')
    yield HttpCase("index wrong type", "/v2/repository/index", body=b'{"ready": "yes"}')
    yield HttpCase("index no json", "/v2/repository/index", body=b"{nope")
    yield HttpCase("load refused", "/v2/repository/models/pair/load")
    yield HttpCase("load unknown", "/v2/repository/models/nosuch/load", body=b"{}")
    yield HttpCase("unload refused", "/v2/repository/models/pair/unload")
    for value in (b"1", b"null", b'"x"'):
        body = b'{"parameters":{"x":%b}}' % value
        yield HttpCase(f"load parameter {value.decode()}", "/v2/repository/models/pair/load", body=body)
    yield HttpCase("load bad json", "/v2/repository/models/pair/load", body=b"[")
    yield HttpCase("named repository", "/v2/repository/one/models/pair/load")
    yield HttpCase("named index", "/v2/repository/one/index")


def good() -> Iterator[HttpCase]:
    """Requests that are answered."""
    yield infer("pair json", "pair", pair())
    yield infer("pair with id", "pair", pair(id="abc-1"))
    yield infer("pair empty id", "pair", pair(id=""))
    yield infer(
        "pair nested data",
        "pair",
        {"inputs": [tensor("A", "FP32", [2, 4], [[1, 2, 3, 4], [5, 6, 7, 8]]), tensor("B", "FP32", [2, 4], [0] * 8)]},
    )
    yield infer("pair one output", "pair", pair(outputs=[{"name": "DIFF"}]))
    yield infer("pair outputs swapped", "pair", pair(outputs=[{"name": "DIFF"}, {"name": "SUM"}]))
    yield infer("pair binary output", "pair", pair(outputs=[{"name": "SUM", "parameters": {"binary_data": True}}]))
    yield infer(
        "pair mixed outputs",
        "pair",
        pair(outputs=[{"name": "SUM", "parameters": {"binary_data": True}}, {"name": "DIFF"}]),
    )
    yield infer("pair all binary", "pair", pair(parameters={"binary_data_output": True}))
    yield infer(
        "pair json over all binary",
        "pair",
        pair(parameters={"binary_data_output": True}, outputs=[{"name": "SUM", "parameters": {"binary_data": False}}]),
    )
    yield infer("pair custom parameters", "pair", pair(parameters={"x": 1, "y": "z", "w": True}))
    yield infer("pair priority", "pair", pair(parameters={"priority": 1}))
    yield infer("pair timeout", "pair", pair(parameters={"timeout": 1000000}))
    yield infer("pair unknown top-level", "pair", pair(surprise=[1, 2]))
    blob = ONES.tobytes()
    size = {"binary_data_size": 16}
    header = {"inputs": [tensor("A", "FP32", [1, 4], **size), tensor("B", "FP32", [1, 4], **size)]}
    yield infer("pair binary", "pair", header, blob + blob)
    yield infer("pair half binary", "pair", {"inputs": [header["inputs"][0], PAIR[1]]}, blob)
    yield infer("pair version path", "pair/versions/1", pair())
    yield infer(
        "chain",
        "chain",
        {"inputs": [tensor("X", "FP32", [1, 4], [1, 2, 3, 4]), tensor("Y", "FP32", [1, 4], [1, 1, 1, 1])], "id": "c"},
    )
    yield infer(
        "chain two rows",
        "chain",
        {"inputs": [tensor("X", "FP32", [2, 4], list(range(8))), tensor("Y", "FP32", [2, 4], [1] * 8)]},
    )
    yield infer(
        "chain requested",
        "chain",
        {
            "inputs": [tensor("X", "FP32", [1, 4], [1, 2, 3, 4]), tensor("Y", "FP32", [1, 4], [1, 1, 1, 1])],
            "outputs": [{"name": "TWICE"}],
        },
    )
    yield infer("batched", "batched", pair())
    yield infer(
        "full batch", "pair", {"inputs": [tensor("A", "FP32", [8, 4], [1] * 32), tensor("B", "FP32", [8, 4], [1] * 32)]}
    )
    yield infer("nobatch", "nobatch", {"inputs": [tensor("IN", "INT32", [3, 2], [1, 2, 3, 4, 5, 6])]})
    yield infer("nobatch empty", "nobatch", {"inputs": [tensor("IN", "INT32", [0, 2], [])]})
    yield infer(
        "optional both",
        "optional",
        {"inputs": [tensor("IN0", "FP32", [1, 2], [1, 2]), tensor("IN1", "FP32", [1, 2], [3, 4])]},
    )
    yield infer("optional one", "optional", {"inputs": [tensor("IN0", "FP32", [1, 2], [1, 2])]})
    yield infer("reshaped", "reshaped", {"inputs": [tensor("IN", "FP32", [2, 4], list(range(8)))]})
    yield infer("version latest allowed", "versions", {"inputs": [tensor("IN", "FP32", [1, 2], [1, 2])]})
    yield infer("version one", "versions/versions/1", {"inputs": [tensor("IN", "FP32", [1, 2], [1, 2])]})
    for model in ("parameters",):
        one = {"inputs": [tensor("IN", "FP32", [1], [1])]}
        yield infer("parameters none", model, one)
        yield infer("parameters id", model, {**one, "id": "x1"})
        yield infer("parameters custom", model, {**one, "parameters": {"a": 1, "b": "two", "c": True}})
        yield infer(
            "parameters sequence",
            model,
            {**one, "parameters": {"sequence_id": 7, "sequence_start": True, "sequence_end": True}},
        )
        yield infer(
            "parameters text sequence", model, {**one, "parameters": {"sequence_id": "seq", "sequence_start": True}}
        )
        yield infer("parameters beyond ASCII", model, {**one, "parameters": {"color": "grün"}})
        yield infer("parameters double", model, {**one, "parameters": {"d": 1.5}})
    for value in ("gzip", "deflate"):
        packed = (
            gzip.compress(json.dumps(pair()).encode())
            if value == "gzip"
            else zlib.compress(json.dumps(pair()).encode())
        )
        yield infer(f"request {value}", "pair", packed, Content_Encoding=value)


def types() -> Iterator[HttpCase]:
    """Every datatype as JSON and binary, in and out, with extremes."""
    values = {
        "BOOL": [True, False],
        "UINT8": [0, 255],
        "UINT16": [0, 65535],
        "UINT32": [0, 4294967295],
        "UINT64": [0, 18446744073709551615],
        "INT8": [-128, 127],
        "INT16": [-32768, 32767],
        "INT32": [-2147483648, 2147483647],
        "INT64": [-9223372036854775808, 9223372036854775807],
        "FP16": [1.5, -2.0],
        "FP32": [1.5, -3.0e38],
        "FP64": [1e308, -2.5],
        "BYTES": ["text", "grüße"],
    }
    for datatype in TYPES:
        model = f"echo_{datatype.lower()}"
        yield infer(f"{datatype} json", model, echo(datatype, [1, 2], values[datatype]))
        yield infer(f"{datatype} empty", model, echo(datatype, [1, 0], []))
        yield infer(f"{datatype} too few", model, echo(datatype, [1, 3], values[datatype]))
        yield infer(f"{datatype} too many", model, echo(datatype, [1, 1], values[datatype]))
        yield infer(f"{datatype} given text", model, echo(datatype, [1, 1], ["1"]))
        yield infer(f"{datatype} given number", model, echo(datatype, [1, 1], [1]))
        yield infer(f"{datatype} given fraction", model, echo(datatype, [1, 1], [1.5]))
        yield infer(f"{datatype} given bool", model, echo(datatype, [1, 1], [True]))
        yield infer(f"{datatype} given null", model, echo(datatype, [1, 1], [None]))
        yield infer(f"{datatype} given object", model, echo(datatype, [1, 1], [{}]))
        yield infer(f"{datatype} scalar data", model, echo(datatype, [1, 1], 1))
        yield infer(f"{datatype} overflow", model, echo(datatype, [1, 1], [2**70]))
        if datatype == "BYTES":
            raw = b"".join(struct.pack("<I", len(part)) + part for part in (b"a\0b", b"ok"))
        else:
            raw = np.array([values[datatype]], NUMPY[datatype]).tobytes()
        request = {
            "inputs": [tensor("IN", datatype, [1, 2], binary_data_size=len(raw))],
            "outputs": [{"name": "OUT", "parameters": {"binary_data": True}}],
        }
        yield infer(f"{datatype} binary", model, request, raw)
        yield infer(f"{datatype} binary in json out", model, {"inputs": request["inputs"]}, raw)


def bad_json() -> Iterator[HttpCase]:
    """Documents that are not requests."""
    documents = {
        "no json": b"hello",
        "empty object": b"{}",
        "array": b"[]",
        "number": b"1",
        "null": b"null",
        "cut": b'{"inputs": [',
        "trailing": json.dumps(pair()).encode() + b"}",
        "bom": b"\xef\xbb\xbf" + json.dumps(pair()).encode(),
        "not utf8": b'{"inputs": "\xff"}',
        "inputs object": b'{"inputs": {}}',
        "inputs text": b'{"inputs": "x"}',
        "inputs empty": b'{"inputs": []}',
        "inputs of numbers": b'{"inputs": [1, 2]}',
        "outputs object": json.dumps(pair(outputs={})).encode(),
        "outputs of numbers": json.dumps(pair(outputs=[1])).encode(),
        "outputs empty": json.dumps(pair(outputs=[])).encode(),
        "output without name": json.dumps(pair(outputs=[{}])).encode(),
        "id number": json.dumps(pair(id=3)).encode(),
        "parameters list": json.dumps(pair(parameters=[])).encode(),
    }
    for name, body in documents.items():
        yield infer(f"json {name}", "pair", body)
    for name, entry in {
        "no name": {"datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]},
        "name number": tensor(3, "FP32", [1, 4], [1, 2, 3, 4]),  # type: ignore[arg-type]
        "no datatype": {"name": "A", "shape": [1, 4], "data": [1, 2, 3, 4]},
        "datatype number": tensor("A", 3, [1, 4], [1, 2, 3, 4]),  # type: ignore[arg-type]
        "unknown datatype": tensor("A", "FP33", [1, 4], [1, 2, 3, 4]),
        "no shape": {"name": "A", "datatype": "FP32", "data": [1, 2, 3, 4]},
        "shape text": tensor("A", "FP32", "1,4", [1, 2, 3, 4]),
        "shape of text": tensor("A", "FP32", ["1", "4"], [1, 2, 3, 4]),
        "shape negative": tensor("A", "FP32", [1, -4], [1, 2, 3, 4]),
        "shape fraction": tensor("A", "FP32", [1, 4.0], [1, 2, 3, 4]),
        "shape huge": tensor("A", "FP32", [2**62, 2**62], [1, 2, 3, 4]),
        "shape empty": tensor("A", "FP32", [], [1]),
        "no data": tensor("A", "FP32", [1, 4]),
        "data null": {"name": "A", "datatype": "FP32", "shape": [1, 4], "data": None},
        "data text": tensor("A", "FP32", [1, 4], "1234"),
        "data object": tensor("A", "FP32", [1, 4], {}),
        "data ragged": tensor("A", "FP32", [1, 4], [[1, 2], [3, 4]]),
        "data and binary": tensor("A", "FP32", [1, 4], [1, 2, 3, 4], binary_data_size=16),
        "parameters list": {**tensor("A", "FP32", [1, 4], [1, 2, 3, 4]), "parameters": []},
        "binary size text": tensor("A", "FP32", [1, 4], binary_data_size="16"),
        "binary size negative": tensor("A", "FP32", [1, 4], binary_data_size=-16),
        "shared memory": tensor("A", "FP32", [1, 4], shared_memory_region="r", shared_memory_byte_size=16),
        "shared memory without size": tensor("A", "FP32", [1, 4], shared_memory_region="r"),
    }.items():
        yield infer(f"input {name}", "pair", {"inputs": [entry, PAIR[1]]})
    yield infer("input twice", "pair", {"inputs": [PAIR[0], PAIR[0]]})
    yield infer("output twice", "pair", pair(outputs=[{"name": "SUM"}, {"name": "SUM"}]))
    for name, parameters in {
        "reserved prefix": {"triton_x": 1},
        "headers": {"headers": "x"},
        "list value": {"x": [1]},
        "object value": {"x": {}},
        "null value": {"x": None},
        "sequence bool": {"sequence_id": True},
        "sequence negative": {"sequence_id": -1},
        "sequence start text": {"sequence_id": 1, "sequence_start": "yes"},
        "priority text": {"priority": "high"},
        "priority negative": {"priority": -1},
        "timeout text": {"timeout": "soon"},
        "timeout negative": {"timeout": -1},
        "timeout fraction": {"timeout": 1.5},
        "binary output text": {"binary_data_output": "yes"},
    }.items():
        yield infer(f"parameter {name}", "pair", pair(parameters=parameters))
    for name, parameters in {
        "binary data text": {"binary_data": "yes"},
        "shared memory": {"shared_memory_region": "r", "shared_memory_byte_size": 16},
    }.items():
        yield infer(f"output {name}", "pair", pair(outputs=[{"name": "SUM", "parameters": parameters}]))


def bad_requests() -> Iterator[HttpCase]:
    """Well-formed requests that do not fit the model."""
    yield infer("unknown model", "nosuch", pair())
    yield infer("unknown version", "pair/versions/99", pair())
    yield infer("version not kept", "versions/versions/2", {"inputs": [tensor("IN", "FP32", [1, 2], [1, 2])]})
    yield infer("missing input", "pair", {"inputs": PAIR[:1]})
    yield infer("unknown input", "pair", {"inputs": [PAIR[0], tensor("C", "FP32", [1, 4], [1, 2, 3, 4])]})
    yield infer("one input too many", "pair", {"inputs": [*PAIR, tensor("C", "FP32", [1, 4], [1, 2, 3, 4])]})
    yield infer("unknown output", "pair", pair(outputs=[{"name": "NO"}]))
    yield infer("wrong datatype", "pair", {"inputs": [tensor("A", "INT32", [1, 4], [1, 2, 3, 4]), PAIR[1]]})
    yield infer("wrong shape", "pair", {"inputs": [tensor("A", "FP32", [1, 3], [1, 2, 3]), PAIR[1]]})
    yield infer("no batch dimension", "pair", {"inputs": [tensor("A", "FP32", [4], [1, 2, 3, 4]), PAIR[1]]})
    yield infer("too many dimensions", "pair", {"inputs": [tensor("A", "FP32", [1, 1, 4], [1, 2, 3, 4]), PAIR[1]]})
    yield infer(
        "batch too large",
        "pair",
        {"inputs": [tensor("A", "FP32", [9, 4], [1] * 36), tensor("B", "FP32", [9, 4], [1] * 36)]},
    )
    yield infer("batch mismatch", "pair", {"inputs": [tensor("A", "FP32", [2, 4], [1] * 8), PAIR[1]]})
    yield infer("batch of none", "pair", {"inputs": [tensor("A", "FP32", [0, 4], []), tensor("B", "FP32", [0, 4], [])]})
    yield infer("nobatch wrong shape", "nobatch", {"inputs": [tensor("IN", "INT32", [3, 3], [1] * 9)]})
    yield infer("optional missing required", "optional", {"inputs": [tensor("IN1", "FP32", [1, 2], [1, 2])]})
    yield infer(
        "optional unknown",
        "optional",
        {"inputs": [tensor("IN0", "FP32", [1, 2], [1, 2]), tensor("IN2", "FP32", [1, 2], [1, 2])]},
    )
    yield infer("optional none", "optional", {"inputs": []})
    yield infer(
        "wrong shape with id", "pair", {"id": "q1", "inputs": [tensor("A", "FP32", [1, 3], [1, 2, 3]), PAIR[1]]}
    )
    yield infer("chain unknown model input", "chain", {"inputs": [tensor("X", "FP32", [1, 4], [1, 2, 3, 4])]})
    yield infer(
        "chain wrong shape",
        "chain",
        {"inputs": [tensor("X", "FP32", [1, 3], [1, 2, 3]), tensor("Y", "FP32", [1, 4], [1, 2, 3, 4])]},
    )
    yield infer(
        "chain batch too large",
        "chain",
        {"inputs": [tensor("X", "FP32", [9, 4], [1] * 36), tensor("Y", "FP32", [9, 4], [1] * 36)]},
    )
    yield infer("decoupled unary", "repeat", {"inputs": [tensor("IN", "INT32", [1], [5])]})
    for code in (0, 1, 2, 3, 4, 5, 6, 7, 8, 97, 98, 99):
        yield infer(f"moody {code}", "moody", {"inputs": [tensor("CODE", "INT32", [1, 1], [code])]})
        yield infer(
            f"moody chain {code}", "moody_chain", {"inputs": [tensor("IN", "INT32", [1, 1], [code])], "id": "m"}
        )


def binary() -> Iterator[HttpCase]:
    """Header lengths and blobs that lie."""
    blob = ONES.tobytes()
    header = {
        "inputs": [tensor("A", "FP32", [1, 4], binary_data_size=16), tensor("B", "FP32", [1, 4], binary_data_size=16)]
    }
    size = len(json.dumps(header).encode())
    for length in ("99999999999", "-1", "abc", str(size + 33), str(size - 1), "1", "", "18446744073709551616", "1.5"):
        yield infer(f"header length {length!r}", "pair", header, blob + blob, Inference_Header_Content_Length=length)
    yield infer("blob short", "pair", header, (blob + blob)[:-1])
    yield infer("blob long", "pair", header, blob + blob + b"x")
    yield infer("blob missing", "pair", header)
    small = {
        "inputs": [tensor("A", "FP32", [1, 4], binary_data_size=12), tensor("B", "FP32", [1, 4], binary_data_size=16)]
    }
    yield infer("blob smaller than shape", "pair", small, (blob + blob)[:28])
    zero = {"inputs": [tensor("A", "FP32", [1, 4], binary_data_size=0), PAIR[1]]}
    yield infer("blob of nothing", "pair", zero)
    for name, raw in {
        "good": b"\x01\0\0\0a\0\0\0\0",
        "lying prefix": b"\xff\xff\xff\xffa",
        "cut prefix": b"\x01\0",
        "cut element": b"\x05\0\0\0ab",
        "too few": b"\x01\0\0\0a",
        "too many": b"\x01\0\0\0a\0\0\0\0\0\0\0\0",
        "nothing": b"",
    }.items():
        request = {"inputs": [tensor("IN", "BYTES", [1, 2], binary_data_size=len(raw))]}
        yield infer(f"bytes {name}", "echo_bytes", request, raw)
    raw_headers = {"Inference-Header-Content-Length": "0"}
    yield HttpCase("raw fp32", "/v2/models/echo_fp32/infer", body=blob, headers=raw_headers)
    yield HttpCase("raw int64", "/v2/models/echo_int64/infer", body=blob, headers=raw_headers)
    yield HttpCase("raw odd size", "/v2/models/echo_fp32/infer", body=blob[:-1], headers=raw_headers)
    yield HttpCase("raw two inputs", "/v2/models/pair/infer", body=blob, headers=raw_headers)
    yield HttpCase("raw bytes variable", "/v2/models/echo_bytes/infer", body=b"hello", headers=raw_headers)
    yield HttpCase("raw fixed", "/v2/models/labelled/infer", body=blob, headers=raw_headers)
    yield HttpCase("raw fixed wrong size", "/v2/models/labelled/infer", body=blob + blob, headers=raw_headers)
    yield HttpCase("raw nobatch", "/v2/models/nobatch/infer", body=blob, headers=raw_headers)
    yield HttpCase("raw unknown model", "/v2/models/nosuch/infer", body=blob, headers=raw_headers)
    yield infer("unknown encoding", "pair", pair(), Content_Encoding="br")
    yield infer("broken gzip", "pair", b"\x1f\x8bnonsense", Content_Encoding="gzip")
    yield infer("cut gzip", "pair", gzip.compress(json.dumps(pair()).encode())[:-9], Content_Encoding="gzip")


def classification() -> Iterator[HttpCase]:
    """The classification extension."""
    scores = [0.1, 0.7, -1.0, 0.2]
    for count in (1, 3, 4, 10, 0, -1, 2**31, "2", 1.5, True):
        outputs = [{"name": "OUT", "parameters": {"classification": count}}]
        request = {"inputs": [tensor("IN", "FP32", [1, 4], scores)], "outputs": outputs}
        yield infer(f"classification {count!r}", "labelled", request)
    outputs = [{"name": "OUT", "parameters": {"classification": 2, "binary_data": True}}]
    yield infer(
        "classification binary",
        "labelled",
        {"inputs": [tensor("IN", "FP32", [2, 4], scores + scores)], "outputs": outputs},
    )
    for datatype in ("INT32", "UINT8", "FP64", "BOOL"):  # not BYTES: the reference server dies of it
        data = [True, False] if datatype == "BOOL" else [3, 7]
        outputs = [{"name": "OUT", "parameters": {"classification": 2}}]
        request = {"inputs": [tensor("IN", datatype, [1, 2], data)], "outputs": outputs}
        yield infer(f"classification {datatype}", f"echo_{datatype.lower()}", request)
    outputs = [{"name": "SUM", "parameters": {"classification": 2}}]
    yield infer("classification without labels", "pair", pair(outputs=outputs))


def generate() -> Iterator[HttpCase]:
    """The generate extension."""
    documents = {
        "scalar": {"IN": [1, 2]},
        "id": {"IN": [1, 2], "id": "g1"},
        "parameter": {"IN": [1, 2], "temperature": 1, "name": "x"},
        "nested parameters": {"IN": [1, 2], "parameters": {"a": 1}},
        "parameters list": {"IN": [1, 2], "parameters": []},
        "parameters nested twice": {"IN": [1, 2], "parameters": {"nested": {"x": 1}}},
        "list parameter": {"IN": [1, 2], "extra": [1]},
        "no input": {},
        "text for number": {"IN": ["x", "y"]},
        "one value": {"IN": 5},
        "two dimensions": {"IN": [[1, 2]]},
        "id number": {"IN": [1, 2], "id": 5},
    }
    for name, document in documents.items():
        body = json.dumps(document).encode()
        yield HttpCase(f"generate {name}", "/v2/models/echo_fp32/generate", body=body)
        yield HttpCase(f"generate_stream {name}", "/v2/models/echo_fp32/generate_stream", body=body)
    for name, values in {"none": [], "one": [1], "three": [1, 2, 3]}.items():
        body = json.dumps({"IN": values}).encode()
        yield HttpCase(f"generate repeat {name}", "/v2/models/repeat/generate", body=body)
        yield HttpCase(f"generate_stream repeat {name}", "/v2/models/repeat/generate_stream", body=body)
    text = json.dumps({"IN": "hello"}).encode()
    yield HttpCase("generate text", "/v2/models/echo_bytes/generate", body=text)
    yield HttpCase("generate bool", "/v2/models/echo_bool/generate", body=b'{"IN": true}')
    yield HttpCase("generate bool given text", "/v2/models/echo_bool/generate", body=b'{"IN": "true"}')
    yield HttpCase("generate bytes given number", "/v2/models/echo_bytes/generate", body=b'{"IN": 3}')
    yield HttpCase(
        "generate parameters model", "/v2/models/parameters/generate", body=b'{"IN": 1, "id": "z", "k": "v"}'
    )
    yield HttpCase("generate moody", "/v2/models/moody/generate", body=b'{"CODE": 99}')
    yield HttpCase("generate_stream moody", "/v2/models/moody/generate_stream", body=b'{"CODE": 4}')
    yield HttpCase("generate unknown model", "/v2/models/nosuch/generate", body=text)
    yield HttpCase("generate no json", "/v2/models/echo_bytes/generate", body=b"nope")
    yield HttpCase(
        "generate gzip",
        "/v2/models/echo_bytes/generate",
        body=gzip.compress(text),
        headers={"Content-Encoding": "gzip"},
    )


def cases() -> list[HttpCase]:
    """Return every HTTP case; ids are unique."""
    families = (routes, repository, good, types, bad_json, bad_requests, binary, classification, generate)
    return [case for family in families for case in family()]
