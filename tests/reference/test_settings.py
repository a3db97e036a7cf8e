"""Settings of tracing and logging, and trace files, are those of NVIDIA's tritonserver, over both transports.

What Slipway does differently on purpose is named by `reason`; a difference without a reason fails, and so does a reason
without a difference.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from benchmarks.reference import reference_server
from benchmarks.serving import Ports, running_server
from tests.reference.answers import Answer, ask_grpc, ask_http
from tests.reference.grpc_cases import GrpcCase, request
from tests.reference.http_cases import HttpCase, infer, tensor
from tests.reference.models import CHAIN_STEPS, PAIR, PAIR_IO, _io, _python
from tests.reference.requirement import skipped_without_reference

NUMBERS = ("1", "7", "0", "-1", "-2", "2147483647", "2147483648", "99999999999999999999", "x", "", "1.5", "12abc", " 3")
TRACE = {
    "trace_rate": NUMBERS,
    "trace_count": NUMBERS,
    "log_frequency": NUMBERS,
    "trace_level": (
        ["OFF"], ["TIMESTAMPS"], ["TENSORS"], ["TENSORS", "TIMESTAMPS"], ["OFF", "TIMESTAMPS"], ["off"], ["FOO"], [],
    ),
    "trace_file": ("other.json", ""),
    "trace_mode": ("triton", "opentelemetry"),
    "trace_ratee": ("1",),
}  # fmt: skip
LOG = {
    "log_info": (True, False, "true", 1, None),
    "log_warning": (True, False, "x", None),
    "log_error": (True, False, 0, None),
    "log_verbose_level": (0, 1, 3, -1, 1.5, "1", True, None, 2**40),
    "log_format": ("default", "ISO8601", "iso8601", "xml", "", 1, None),
    "log_file": ("other.log", "", None),
    "log_warnings": (True,),
}
CLEAR = {"trace_level": None, "trace_rate": None, "trace_count": None, "log_frequency": None}
RESET = {"log_info": True, "log_warning": True, "log_error": True, "log_verbose_level": 0, "log_format": "default"}
NUMBER = "Triton reads only the number at the beginning of a text (stoi), and takes -1 for a rate as 4294967295."
CLOSED = "An unknown setting or level, and another mode, is refused with the nearest name; Triton ignores it."
EMPTY = "An empty body changes nothing, as in newer Triton; 2.51 refuses it."
SPACE = "Over HTTP, Triton leaves out a space in this text."
TOO_LARGE = "A level that does not fit into 32 bits is refused; Triton drops its upper bits."


@pytest.fixture(scope="module")
def servers(tmp_path_factory) -> Iterator[tuple[tuple[Ports, Path], tuple[Ports, Path]]]:
    """Yield the ports of Slipway and of the reference server, each with its trace file."""
    directory = tmp_path_factory.mktemp("settings")
    repository = directory / "models"
    _python(repository, "pair", PAIR, "max_batch_size: 8\n" + PAIR_IO)
    io = _io("input", ("X", "TYPE_FP32", "4"), ("Y", "TYPE_FP32", "4")) + _io("output", ("TWICE", "TYPE_FP32", "4"))
    (repository / "chain" / "1").mkdir(parents=True)
    (repository / "chain" / "config.pbtxt").write_text(f'platform: "ensemble"\nmax_batch_size: 8\n{io}{CHAIN_STEPS}')
    files = [directory / name / "trace.json" for name in ("ours", "theirs")]
    for file in files:
        file.parent.mkdir()
    flags = ("--trace-config=level=TIMESTAMPS", "--trace-config=level=TENSORS", "--trace-config=rate=1")
    with ExitStack() as stack:
        log = directory / "reference.log"
        with skipped_without_reference():
            theirs, _ = stack.enter_context(
                reference_server(repository, log, *flags, f"--trace-config=triton,file={files[1]}")
            )
        ours = stack.enter_context(running_server(repository, *flags, f"--trace-config=triton,file={files[0]}"))
        yield (ours.ports, files[0]), (theirs, files[1])


def post(path: str, document: object, name: str = "") -> HttpCase:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return HttpCase(name or f"{path} {document}", path, body=body)


def http_cases() -> Iterator[HttpCase]:
    for path in ("/v2/trace/setting", "/v2/models/pair/trace/setting"):
        for name, values in TRACE.items():
            for value in (*values, None):
                yield post(path, {name: value})
        yield post(path, {"trace_rate": "5", "trace_count": "9", "log_frequency": "2", "trace_level": ["TENSORS"]})
        for wrong in (7, True, {"a": 1}):
            yield post(path, {"trace_rate": wrong})
        yield post(path, {"trace_level": "OFF"})
        yield post(path, {"trace_level": [1]})
        yield post(path, b"")
        yield post(path, b"[]")
        yield HttpCase(f"get {path}", path, "GET")
        yield HttpCase(f"put {path}", path, "PUT", b"{}")
    for path in ("/v2/models/absent/trace/setting", "/v2/models/pair/versions/1/trace/setting", "/v2/trace/setting/"):
        yield HttpCase(f"get {path}", path, "GET")
        yield post(path, {"trace_rate": "x"})
    for name, values in LOG.items():
        for value in values:
            yield post("/v2/logging", {name: value})
    yield HttpCase("get log", "/v2/logging", "GET")
    yield HttpCase("put log", "/v2/logging", "PUT", b"{}")
    yield post("/v2/logging", b"")


def grpc_cases() -> Iterator[GrpcCase]:
    for model in ("", "pair", "absent"):
        for name, values in TRACE.items():
            for value in (*values, [], ["1", "2"]):
                texts = value if isinstance(value, list) else [value]
                message = pb.TraceSettingRequest(model_name=model)
                message.settings[name].value.extend(texts)
                yield GrpcCase(f"trace {model} {name} {texts}", "TraceSetting", message)
        yield GrpcCase(f"trace {model}", "TraceSetting", pb.TraceSettingRequest(model_name=model))
    kinds = {"bool_param": (True, False), "uint32_param": (0, 2), "string_param": ("default", "ISO8601", "xml", "")}
    for name in LOG:
        for kind, values in kinds.items():
            for value in values:
                message = pb.LogSettingsRequest()
                setattr(message.settings[name], kind, value)
                yield GrpcCase(f"log {name} {value}", "LogSettings", message)
        message = pb.LogSettingsRequest()
        message.settings[name].SetInParent()
        yield GrpcCase(f"log {name} without a value", "LogSettings", message)
    yield GrpcCase("log", "LogSettings", pb.LogSettingsRequest())


def ask(ports: Ports, case: HttpCase | GrpcCase) -> Answer:
    """Return the answer, then give every setting its first value again."""
    if isinstance(case, HttpCase):
        answer = ask_http(ports.http, case)
    else:
        with grpc.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
            answer = ask_grpc(service_pb2_grpc.GRPCInferenceServiceStub(channel), case)
    for path, document in (
        ("/v2/models/pair/trace/setting", CLEAR), ("/v2/trace/setting", CLEAR), ("/v2/logging", RESET),
    ):  # fmt: skip
        assert ask_http(ports.http, post(path, document)).status == "200"
    return neutral(answer)


def neutral(value: Any) -> Any:
    """Return an answer without the server's own trace file."""
    if isinstance(value, Answer):
        return Answer(value.status, neutral(value.content))
    if isinstance(value, dict):
        return {name: neutral(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(neutral(item) for item in value)
    return value.replace("/ours/", "/theirs/") if isinstance(value, str) else value


def reason(case: HttpCase | GrpcCase) -> str | None:
    """Return why the answers to a case differ."""
    text = case.id
    if "absent" in text or "versions" in text or "setting/" in text:
        return None
    if any(f"'{number}'" in text for number in ("1.5", "12abc", " 3")):
        return NUMBER
    if "count" not in text and any(f"'{number}'" in text for number in ("-1", "-2")):
        return NUMBER
    if "count" in text and "'-2'" in text and isinstance(case, HttpCase):
        return SPACE
    if any(word in text for word in ("'off'", "FOO", "ratee", "log_warnings", "opentelemetry")):
        return CLOSED
    if ("trace_mode" in text and "triton" not in text) or ("trace_level" in text and "['1', '2']" in text):
        return CLOSED
    if text.endswith("b''"):
        return EMPTY
    return TOO_LARGE if str(2**40) in text else None


def test_every_setting_is_answered_in_the_same_way(servers):
    (ours, _), (theirs, _) = servers
    different, needless, compared = [], [], 0
    for case in (*http_cases(), *grpc_cases()):
        mine, reference = (ask(ports, case) for ports in (ours, theirs))
        compared += 1
        if mine != reference and reason(case) is None:
            different.append(f"{case.id}:\n  {mine}\n  {reference}")
        if mine == reference and reason(case) is not None:
            needless.append(case.id)
    assert "\n".join(different) == ""
    assert needless == []
    assert compared > 300


def trace_shapes(path: Path) -> Counter[object]:
    """Return what each trace in a file consists of, without its number and times."""
    parts: dict[int, list[object]] = defaultdict(list)
    records: dict[int, dict[str, object]] = {}
    for each in json.loads(path.read_text()):
        if "model_name" in each:
            records[each["id"]] = each
        elif "activity" in each:
            values = dict(each["tensor"])
            values["data"] = tuple(map(float, values["data"].split(",")))
            parts[each["id"]].append((each["activity"], tuple(sorted(values.items()))))
        else:
            parts[each["id"]].append(each["timestamps"][0]["name"])
    return Counter(
        (
            records[number]["model_name"],
            records[number].get("request_id"),
            records.get(records[number].get("parent_id"), {}).get("model_name"),
            tuple(sorted(map(str, found))),
        )
        for number, found in parts.items()
        if number in records
    )


def test_trace_files_have_the_same_contents(servers):
    ones = np.ones((2, 4), np.float32)
    for ports, _ in servers:
        settings = {"trace_level": ["TIMESTAMPS", "TENSORS"], "trace_rate": "1", "trace_count": "4"}
        assert ask_http(ports.http, post("/v2/trace/setting", settings)).status == "200"
        inputs = [tensor(name, "FP32", [2, 4], ones.ravel().tolist()) for name in ("A", "B")]
        assert ask_http(ports.http, infer("http", "pair", {"id": "7", "inputs": inputs})).status == "200"
        inputs = [tensor(name, "FP32", [2, 4], ones.ravel().tolist()) for name in ("X", "Y")]
        assert ask_http(ports.http, infer("chain", "chain", {"inputs": inputs})).status == "200"
        given = [(name, "FP32", [2, 4], ones.tobytes()) for name in ("A", "B")]
        with grpc.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            for case in (
                GrpcCase("grpc", "ModelInfer", request("pair", *given)),
                GrpcCase("stream", "ModelStreamInfer", (request("pair", *given, id="s"),)),
            ):
                assert ask_grpc(stub, case).status in {"OK", "STREAM"}
        assert ask_http(ports.http, post("/v2/trace/setting", CLEAR)).status == "200"
    found = []
    for _, path in servers:
        (written,) = wait_for_files(path)
        found.append(trace_shapes(written))
    assert found[0] == found[1]
    assert sum(found[0].values()) >= 5


def wait_for_files(path: Path) -> list[Path]:
    end = time.monotonic() + 20
    while not (files := [file for file in path.parent.iterdir() if file.name != path.name]):
        assert time.monotonic() < end
        time.sleep(0.05)
    return files
