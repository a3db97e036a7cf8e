"""The gRPC requests that both servers get, as protobuf messages."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import Message
from tritonclient.grpc import service_pb2 as pb

from tests.reference.http_cases import NUMPY


@dataclass(frozen=True, slots=True)
class GrpcCase:
    """One call: a method of GRPCInferenceService and its request, or the requests of one stream."""

    id: str
    method: str
    request: Message | tuple[Message, ...]
    metadata: tuple[tuple[str, str], ...] = ()


Contents = dict[str, list[object]]
FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def request(model: str, *tensors: tuple[str, str, list[int], object], **fields: object) -> pb.ModelInferRequest:
    """Return an infer request; a tensor's data is raw bytes or a dict of typed contents (None: neither)."""
    message = pb.ModelInferRequest(model_name=model, **fields)
    for name, datatype, shape, data in tensors:
        entry = message.inputs.add(name=name, datatype=datatype, shape=shape)
        if isinstance(data, bytes):
            message.raw_input_contents.append(data)
        elif isinstance(data, dict):
            for field, values in data.items():
                getattr(entry.contents, field).extend(values)
    return message


ONES = np.ones((1, 4), np.float32).tobytes()
PAIR = (("A", "FP32", [1, 4], ONES), ("B", "FP32", [1, 4], ONES))
TYPED = (("A", "FP32", [1, 4], {"fp32_contents": [1, 2, 3, 4]}), ("B", "FP32", [1, 4], {"fp32_contents": [1, 1, 1, 1]}))


def with_output(name: str, **parameters: pb.InferParameter) -> pb.ModelInferRequest:
    """Return a valid request to `pair` that asks for one output with parameters."""
    message = request("pair", *PAIR)
    output = message.outputs.add(name=name)
    for key, value in parameters.items():
        output.parameters[key].CopyFrom(value)
    return message


def with_parameters(model: str = "pair", **parameters: pb.InferParameter) -> pb.ModelInferRequest:
    """Return a valid request to `pair` (or `parameters`) with request parameters."""
    tensors = PAIR if model == "pair" else (("IN", "FP32", [1], ONES[:4]),)
    message = request(model, *tensors)
    for key, value in parameters.items():
        message.parameters[key].CopyFrom(value)
    return message


def parameter(**value: object) -> pb.InferParameter:
    """Return an InferParameter with the given field of its oneof."""
    return pb.InferParameter(**value)


def unary() -> Iterator[GrpcCase]:
    """Health, metadata, configuration, repository."""
    yield GrpcCase("live", "ServerLive", pb.ServerLiveRequest())
    yield GrpcCase("ready", "ServerReady", pb.ServerReadyRequest())
    yield GrpcCase("server metadata", "ServerMetadata", pb.ServerMetadataRequest())
    for name, version in (
        ("pair", ""),
        ("pair", "1"),
        ("pair", "9"),
        ("pair", "x"),
        ("nosuch", ""),
        ("nosuch", "1"),
        ("versions", ""),
        ("versions", "2"),
        ("chain", ""),
        ("repeat", ""),
        ("", ""),
    ):
        label = f"{name!r} {version!r}"
        yield GrpcCase(f"model ready {label}", "ModelReady", pb.ModelReadyRequest(name=name, version=version))
        yield GrpcCase(f"metadata {label}", "ModelMetadata", pb.ModelMetadataRequest(name=name, version=version))
        yield GrpcCase(f"config {label}", "ModelConfig", pb.ModelConfigRequest(name=name, version=version))
    for name, version in (("nosuch", ""), ("pair", "9")):
        label = f"{name!r} {version!r}"
        yield GrpcCase(f"statistics {label}", "ModelStatistics", pb.ModelStatisticsRequest(name=name, version=version))
    yield GrpcCase("index", "RepositoryIndex", pb.RepositoryIndexRequest())
    yield GrpcCase("index ready", "RepositoryIndex", pb.RepositoryIndexRequest(ready=True))
    yield GrpcCase("index named", "RepositoryIndex", pb.RepositoryIndexRequest(repository_name="one"))
    yield GrpcCase("load refused", "RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name="pair"))
    yield GrpcCase("unload refused", "RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name="pair"))


def infer_requests() -> Iterator[tuple[str, pb.ModelInferRequest]]:  # noqa: PLR0915  a table of cases
    """Good and bad infer requests; each is sent unary and as a stream of one."""
    yield "raw", request("pair", *PAIR)
    yield "typed", request("pair", *TYPED)
    yield "with id", request("pair", *PAIR, id="g-1")
    yield "version", request("pair", *PAIR, model_version="1")
    yield "one output", with_output("DIFF")
    yield "chain", request("chain", ("X", "FP32", [1, 4], ONES), ("Y", "FP32", [1, 4], ONES))
    yield "optional", request("optional", ("IN0", "FP32", [1, 2], ONES[:8]))
    yield "empty", request("nobatch", ("IN", "INT32", [0, 2], b""))
    for datatype, numpy in NUMPY.items():
        raw = np.array([[1, 0]], numpy).tobytes()
        model = f"echo_{datatype.lower()}"
        yield f"{datatype} raw", request(model, ("IN", datatype, [1, 2], raw))
        yield f"{datatype} short", request(model, ("IN", datatype, [1, 3], raw))
        if datatype in FIELDS:
            values = [True, False] if datatype == "BOOL" else [1, 0]
            yield f"{datatype} typed", request(model, ("IN", datatype, [1, 2], {FIELDS[datatype]: values}))
            yield f"{datatype} typed short", request(model, ("IN", datatype, [1, 3], {FIELDS[datatype]: values}))
            yield f"{datatype} typed long", request(model, ("IN", datatype, [1, 1], {FIELDS[datatype]: values}))
    yield "int8 out of range", request("echo_int8", ("IN", "INT8", [1, 1], {"int_contents": [300]}))
    yield "fp16 typed", request("echo_fp16", ("IN", "FP16", [1, 1], {"fp32_contents": [1.0]}))
    yield "wrong typed field", request("echo_int64", ("IN", "INT64", [1, 1], {"fp32_contents": [1.0]}))
    yield "bytes typed", request("echo_bytes", ("IN", "BYTES", [1, 2], {"bytes_contents": [b"a", b"\0b"]}))
    for name, raw in {
        "good": struct.pack("<I", 1) + b"a" + struct.pack("<I", 0),
        "lying": b"\xff\xff\xff\xffa",
        "cut": b"\x01\0",
        "few": struct.pack("<I", 1) + b"a",
        "many": struct.pack("<I", 0) * 3,
        "nothing": b"",
    }.items():
        yield f"bytes {name}", request("echo_bytes", ("IN", "BYTES", [1, 2], raw))
    yield "no data", request("pair", ("A", "FP32", [1, 4], None), ("B", "FP32", [1, 4], None))
    yield "raw for one", request("pair", ("A", "FP32", [1, 4], ONES), ("B", "FP32", [1, 4], None))
    yield "mixed", request("pair", PAIR[0], TYPED[1])
    mixed = request("pair", *TYPED)
    mixed.raw_input_contents.extend([ONES, ONES])
    yield "both", mixed
    many = request("pair", *PAIR)
    many.raw_input_contents.append(ONES)
    yield "too many raw", many
    yield "unknown model", request("nosuch", *PAIR)
    yield "unknown version", request("pair", *PAIR, model_version="99")
    yield "version text", request("pair", *PAIR, model_version="one")
    yield "no model", request("", *PAIR)
    yield "missing input", request("pair", PAIR[0])
    yield "no inputs", request("pair")
    yield "unknown input", request("pair", PAIR[0], ("C", "FP32", [1, 4], ONES))
    yield "input twice", request("pair", PAIR[0], PAIR[0])
    yield "unknown output", with_output("NO")
    unknown = with_output("zebra")
    unknown.outputs.add(name="ant")
    yield "two unknown outputs", unknown
    raw = struct.pack("<I", 0) * 3
    yield "rows before elements", request("echo_bytes", ("IN", "BYTES", [9, 1], raw))
    twice = with_output("SUM")
    twice.outputs.add(name="SUM")
    yield "output twice", twice
    yield "wrong datatype", request("pair", ("A", "INT32", [1, 4], ONES), PAIR[1])
    yield "unknown datatype", request("pair", ("A", "FP33", [1, 4], ONES), PAIR[1])
    yield "no datatype", request("pair", ("A", "", [1, 4], ONES), PAIR[1])
    yield "wrong shape", request("pair", ("A", "FP32", [1, 3], ONES[:12]), PAIR[1])
    yield "wrong shape with id", request("pair", ("A", "FP32", [1, 3], ONES[:12]), PAIR[1], id="w")
    yield "negative shape", request("pair", ("A", "FP32", [1, -4], ONES), PAIR[1])
    for shape in ([-1, -1], [1, -1], [0, -1], [-1, 2], [1, 2, -1]):
        yield f"unknown size {shape}", request("echo_fp32", ("IN", "FP32", shape, ONES[:8]))
    yield "huge shape", request("pair", ("A", "FP32", [2**62, 2**62], ONES), PAIR[1])
    yield "no shape", request("pair", ("A", "FP32", [], ONES), PAIR[1])
    yield "batch too large", request("pair", ("A", "FP32", [9, 4], ONES * 9), ("B", "FP32", [9, 4], ONES * 9))
    yield "batch mismatch", request("pair", ("A", "FP32", [2, 4], ONES * 2), PAIR[1])
    yield "batch of none", request("pair", ("A", "FP32", [0, 4], b""), ("B", "FP32", [0, 4], b""))
    for code in (0, 1, 2, 3, 4, 5, 6, 7, 8, 99):
        raw = np.array([[code]], np.int32).tobytes()
        yield f"moody {code}", request("moody", ("CODE", "INT32", [1, 1], raw), id="mood")
        yield f"moody chain {code}", request("moody_chain", ("IN", "INT32", [1, 1], raw), id="mood")
    for name, value in {
        "custom integer": {"a": parameter(int64_param=3)},  # one at a time: the order of a protobuf map is anybody's
        "custom text": {"b": parameter(string_param="x")},
        "custom text beyond ASCII": {"b": parameter(string_param="grün")},
        "custom bool": {"c": parameter(bool_param=True)},
        "double": {"d": parameter(double_param=1.5)},
        "uint64": {"u": parameter(uint64_param=5)},
        "unset": {"n": parameter()},
        "reserved": {"triton_x": parameter(int64_param=1)},
        "headers": {"headers": parameter(string_param="x")},
        "priority": {"priority": parameter(uint64_param=1)},
        "priority signed": {"priority": parameter(int64_param=1)},
        "priority negative": {"priority": parameter(int64_param=-1)},
        "priority text": {"priority": parameter(string_param="1")},
        "timeout": {"timeout": parameter(int64_param=1000000)},
        "timeout text": {"timeout": parameter(string_param="1")},
        "timeout negative": {"timeout": parameter(int64_param=-5)},
        "sequence": {"sequence_id": parameter(int64_param=3), "sequence_start": parameter(bool_param=True)},
        "sequence text": {"sequence_id": parameter(string_param="s"), "sequence_end": parameter(bool_param=True)},
        "sequence bool": {"sequence_id": parameter(bool_param=True)},
        "sequence start text": {"sequence_id": parameter(int64_param=3), "sequence_start": parameter(string_param="y")},
    }.items():
        yield f"parameter {name}", with_parameters("parameters", **value)
    for name, value in {
        "two": parameter(int64_param=2),
        "zero": parameter(int64_param=0),
        "negative": parameter(int64_param=-1),
        "text": parameter(string_param="2"),
        "huge": parameter(int64_param=2**31),
    }.items():
        message = request("labelled", ("IN", "FP32", [1, 4], np.array([[0.1, 0.7, -1, 0.2]], np.float32).tobytes()))
        message.outputs.add(name="OUT").parameters["classification"].CopyFrom(value)
        yield f"classification {name}", message
    yield "binary data false", with_output("SUM", binary_data=parameter(bool_param=False))
    region = {"shared_memory_region": parameter(string_param="r"), "shared_memory_byte_size": parameter(int64_param=16)}
    yield "output shared memory", with_output("SUM", **region)
    shared = request("pair", ("A", "FP32", [1, 4], None), ("B", "FP32", [1, 4], None))
    for entry in shared.inputs:
        for key, value in region.items():
            entry.parameters[key].CopyFrom(value)
    yield "input shared memory", shared


def streams() -> Iterator[GrpcCase]:
    """Streams of several requests, decoupled ones among them."""
    empty_final = {"triton_enable_empty_final_response": parameter(bool_param=True)}
    for name, values in {"none": [], "one": [4], "three": [1, 2, 3]}.items():
        raw = np.array(values, np.int32).tobytes()
        plain = request("repeat", ("IN", "INT32", [len(values)], raw), id=name)
        yield GrpcCase(f"decoupled {name}", "ModelStreamInfer", (plain,))
        marked = pb.ModelInferRequest()
        marked.CopyFrom(plain)
        for key, value in empty_final.items():
            marked.parameters[key].CopyFrom(value)
        yield GrpcCase(f"decoupled {name} with empty final", "ModelStreamInfer", (marked,))
    marked = with_parameters("pair", **empty_final)
    yield GrpcCase("pair with empty final", "ModelStreamInfer", (marked,))
    ids = [request("pair", *PAIR, id=str(number)) for number in range(5)]
    yield GrpcCase("five in order", "ModelStreamInfer", tuple(ids))
    bad = request("nosuch", *PAIR, id="bad")
    yield GrpcCase("good bad good", "ModelStreamInfer", (ids[0], bad, ids[1]))
    yield GrpcCase("bad first", "ModelStreamInfer", (bad, ids[0]))
    metadata = (("triton_grpc_error", "true"),)
    yield GrpcCase("bad with true error", "ModelStreamInfer", (bad,), metadata)
    yield GrpcCase("nothing", "ModelStreamInfer", ())


def cases() -> list[GrpcCase]:
    """Return every gRPC case; ids are unique."""
    collected = list(unary())
    for name, message in infer_requests():
        collected.append(GrpcCase(f"infer {name}", "ModelInfer", message))
        collected.append(GrpcCase(f"stream {name}", "ModelStreamInfer", (message,)))
    decoupled = request("repeat", ("IN", "INT32", [1], np.array([3], np.int32).tobytes()))
    collected.append(GrpcCase("decoupled unary", "ModelInfer", decoupled))
    collected.extend(streams())
    return collected
