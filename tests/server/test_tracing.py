"""Traces of a running server: Triton's files with every part of a request, and a collector's spans; faults of both."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from benchmarks.serving import running_server
from tests.kits.calls import infer, tensors
from tests.kits.traced_models import write_traced_models

VALUES = np.array([[1, 2.5]], np.float32)
EXECUTED = {"QUEUE_START", "COMPUTE_START", "COMPUTE_INPUT_END", "COMPUTE_OUTPUT_START", "COMPUTE_END"}
REQUEST = {"REQUEST_START", "REQUEST_END"}
HTTP = {"HTTP_RECV_START", "HTTP_RECV_END", "INFER_RESPONSE_COMPLETE", "HTTP_SEND_START", "HTTP_SEND_END"}
GRPC = {
    "GRPC_WAITREAD_START", "GRPC_WAITREAD_END", "INFER_RESPONSE_COMPLETE", "GRPC_SEND_START", "GRPC_SEND_END",
}  # fmt: skip
SENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    write_traced_models(root)
    return root


class Trace:
    """The objects of one id in a trace file."""

    def __init__(self) -> None:
        self.record: dict[str, object] = {}
        self.times: dict[str, int] = {}
        self.count = 0
        self.tensors: list[tuple[str, dict[str, str]]] = []


def read_traces(path) -> dict[int, Trace]:
    traces: dict[int, Trace] = defaultdict(Trace)
    for each in json.loads(path.read_text()):
        trace = traces[each["id"]]
        if "model_name" in each:
            trace.record = each
        if "timestamps" in each:
            (moment,) = each["timestamps"]
            trace.times[moment["name"]] = moment["ns"]
            trace.count += 1
        if "activity" in each:
            trace.tensors.append((each["activity"], each["tensor"]))
    return traces


def of_model(traces: dict[int, Trace], model: str) -> list[Trace]:
    return [trace for trace in traces.values() if trace.record.get("model_name") == model]


def metrics(server) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{server.metrics}/metrics", timeout=20) as response:
        lines = [line for line in response.read().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def until(condition, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def post(server, path: str, document: object) -> tuple[int, dict[str, object]]:
    request = urllib.request.Request(f"http://{server.http}{path}", json.dumps(document).encode(), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_trace_file_has_every_part_of_a_request(repository, tmp_path):
    path = tmp_path / "trace.json"
    flags = [
        "--trace-config=level=TIMESTAMPS", "--trace-config=level=TENSORS", "--trace-config=rate=1",
        f"--trace-config=triton,file={path}",
    ]  # fmt: skip
    with (
        running_server(repository, *flags) as server,
        tritonclient.http.InferenceServerClient(server.http) as http,
        tritonclient.grpc.InferenceServerClient(server.grpc) as grpc,
    ):
        assert http.get_server_metadata()["extensions"][-2:] == ["trace", "logging"]
        for client in (http, grpc):
            assert infer(client, "identity", {"INPUT0": VALUES}, "OUTPUT0").tolist() == VALUES.tolist()
        infer(http, "chain", {"IN": VALUES}, "OUT")
        infer(http, "caller", {"IN": VALUES}, "OUT")
        infer(grpc, "process_caller", {"IN": VALUES}, "OUT")
        answers: list[object] = []
        grpc.start_stream(lambda result, error: answers.append(error or result))
        grpc.async_stream_infer("repeat", tensors(tritonclient.grpc, {"IN": VALUES[0]}), request_id="stream")
        grpc.stop_stream()
        assert len(answers) == 3
        assert post(server, "/v2/models/repeat/generate", {"IN": 1.0})[0] == 500
        assert post(server, "/v2/models/identity/infer", {"inputs": []})[0] == 400
        until(lambda: metrics(server)["slipway_trace_written_count"] == 8)
        assert metrics(server)["slipway_trace_lost_count"] == 0
        traces = read_traces(path)  # complete while the server runs
    assert read_traces(path).keys() == traces.keys()

    over_http, over_grpc = (trace for trace in of_model(traces, "identity") if "parent_id" not in trace.record)
    assert over_http.times.keys() == HTTP | REQUEST | EXECUTED
    assert over_grpc.times.keys() == GRPC | REQUEST | EXECUTED
    order = [
        "HTTP_RECV_START", "HTTP_RECV_END", "REQUEST_START", "QUEUE_START", "COMPUTE_START", "COMPUTE_INPUT_END",
        "COMPUTE_OUTPUT_START", "COMPUTE_END", "INFER_RESPONSE_COMPLETE", "REQUEST_END", "HTTP_SEND_START",
        "HTTP_SEND_END",
    ]  # fmt: skip
    assert sorted(over_http.times.values()) == [over_http.times[name] for name in order]
    assert over_http.record.keys() == {"id", "model_name", "model_version"}
    assert [(activity, tensor["name"], tensor["data"]) for activity, tensor in over_http.tensors] == [
        ("TENSOR_QUEUE_INPUT", "INPUT0", "1.0,2.5"),
        ("TENSOR_BACKEND_OUTPUT", "OUTPUT0", "1.0,2.5"),
    ]

    (chain,) = of_model(traces, "chain")
    assert chain.times.keys() == HTTP | REQUEST | {"QUEUE_START"}
    for parent in (chain, *of_model(traces, "caller"), *of_model(traces, "process_caller")):
        children = [trace for trace in traces.values() if trace.record.get("parent_id") == parent.record["id"]]
        assert [trace.record["model_name"] for trace in children] == ["identity"] * (2 if parent is chain else 1)
        assert all(trace.times.keys() == REQUEST | EXECUTED for trace in children)

    streamed, generated = of_model(traces, "repeat")
    assert streamed.record["request_id"] == "stream"
    assert streamed.times.keys() == GRPC | REQUEST | EXECUTED
    assert streamed.count > len(streamed.times)  # several responses
    assert generated.times.keys() == HTTP | REQUEST | EXECUTED
    (refused,) = (trace for trace in traces.values() if not trace.record)
    assert refused.times.keys() == HTTP - {"INFER_RESPONSE_COMPLETE"}


def test_settings_change_what_is_traced_and_where(repository, tmp_path):
    path = tmp_path / "trace.json"
    with (
        running_server(repository, f"--trace-config=triton,file={path}") as server,
        tritonclient.http.InferenceServerClient(server.http) as http,
        tritonclient.grpc.InferenceServerClient(server.grpc) as grpc,
    ):
        initial = {
            "trace_level": ["OFF"],
            "trace_rate": "1000",
            "trace_count": "-1",
            "log_frequency": "0",
            "trace_file": str(path),
            "trace_mode": "triton",
        }
        assert http.get_trace_settings() == http.get_trace_settings("identity") == initial
        infer(http, "identity", {"INPUT0": VALUES}, "OUTPUT0")
        changed = http.update_trace_settings(
            "identity", {"trace_level": ["TIMESTAMPS"], "trace_rate": "2", "trace_count": "2"}
        )
        assert changed == initial | {"trace_level": ["TIMESTAMPS"], "trace_rate": "2", "trace_count": "2"}
        settings = grpc.get_trace_settings("identity").settings
        assert {name: list(setting.value) for name, setting in settings.items()} == {
            name: value if isinstance(value, list) else [value] for name, value in changed.items()
        }
        for _ in range(6):
            infer(grpc, "identity", {"INPUT0": VALUES}, "OUTPUT0")
        infer(http, "caller", {"IN": VALUES}, "OUT")
        assert grpc.get_trace_settings("identity").settings["trace_count"].value == ["0"]
        until(lambda: metrics(server)["slipway_trace_written_count"] == 2)
        first = read_traces(path.with_name("trace.json.0"))
        assert [trace.record["model_name"] for trace in first.values()] == ["identity"] * 2
        grpc.update_trace_settings("identity", {"trace_level": [], "trace_rate": [], "trace_count": []})
        assert http.get_trace_settings("identity") == initial

        assert post(server, "/v2/trace/setting", {"trace_file": "/etc/x"}) == (
            501,
            {"error": "trace file location can not be updated through network protocol"},
        )
        assert post(server, "/v2/models/absent/trace/setting", {}) == (
            400,
            {"error": "Request for unknown model : absent"},
        )
        assert post(server, "/v2/trace/setting", {"trace_rate": 5})[0] == 500
        assert post(server, "/v2/models/identity/versions/1/trace/setting", {})[0] == 404
        with pytest.raises(tritonclient.utils.InferenceServerException, match="expect only 1 value for 'trace_rate'"):
            grpc.update_trace_settings(settings={"trace_rate": ["1", "2"]})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["trace.json.0"]


def test_a_full_disk_costs_traces_and_nothing_else(repository):
    flags = ["--trace-config=level=TIMESTAMPS", "--trace-config=rate=1", "--trace-config=triton,file=/dev/full"]
    with (
        running_server(repository, *flags) as server,
        tritonclient.http.InferenceServerClient(server.http) as http,
    ):
        for count in range(1, 4):
            infer(http, "identity", {"INPUT0": VALUES}, "OUTPUT0")
            until(lambda count=count: metrics(server)["slipway_trace_lost_count"] == count)
        assert server.log.count("/dev/full") == 1
        assert "traces are lost until '/dev/full' accepts them: No space left on device" in server.log


@pytest.fixture(scope="module")
def collector() -> Iterator[object]:
    pytest.importorskip("opentelemetry.proto")
    from tests.kits.collector import running_collector

    with running_collector() as running:
        yield running


def open_telemetry(collector, **settings: object) -> list[str]:
    given = {"url": collector.url, "bsp_schedule_delay": 50, **settings}
    return [
        "--trace-config=mode=opentelemetry",
        "--trace-config=level=TIMESTAMPS",
        *(f"--trace-config=opentelemetry,{name}={value}" for name, value in given.items()),
    ]


def parent_names(collector, trace_id: bytes) -> list[tuple[str, str]]:
    spans = {span.span_id: span for span in collector.spans if span.trace_id == trace_id}
    names = {number: span.name for number, span in spans.items()}
    return sorted((span.name, names.get(span.parent_span_id, "")) for span in spans.values())


def test_a_collector_gets_the_spans_of_every_part_of_a_request(repository, collector):
    flags = [*open_telemetry(collector, resource="service.name=ship"), "--trace-config=rate=0"]
    headers = {"traceparent": SENT, "tracestate": "vendor=1"}
    with (
        running_server(repository, *flags) as server,
        tritonclient.http.InferenceServerClient(server.http) as http,
        tritonclient.grpc.InferenceServerClient(server.grpc) as grpc,
    ):
        infer(http, "identity", {"INPUT0": VALUES}, "OUTPUT0")  # rate 0: not traced
        given = tensors(tritonclient.http, {"IN": VALUES})
        http.infer("chain", given, headers=dict(headers), request_id="7")  # the client adds to them
        (chain,) = collector.wait_for("chain")
        trace_id = bytes.fromhex(SENT.split("-")[1])
        assert chain.trace_id == trace_id
        assert parent_names(collector, trace_id) == sorted([
            ("InferRequest", ""), ("chain", "InferRequest"),
            *[("identity", "chain"), ("queue", "identity"), ("compute", "identity")] * 2,
        ])  # fmt: skip
        (front,) = collector.named("InferRequest")
        assert front.parent_span_id.hex() == SENT.split("-")[2]
        assert [event.name for event in front.events] == [
            "HTTP_RECV_START", "HTTP_RECV_END", "INFER_RESPONSE_COMPLETE", "HTTP_SEND_START", "HTTP_SEND_END",
        ]  # fmt: skip
        attributes = {each.key: each.value for each in chain.attributes}
        assert attributes["triton.model_name"].string_value == "chain"
        assert attributes["triton.model_version"].int_value == 1
        assert attributes["triton.request_id"].string_value == "7"
        assert collector.resources[0]["service.name"] == "ship"

        for number, (client, module, model) in enumerate((
            (http, tritonclient.http, "caller"), (grpc, tritonclient.grpc, "process_caller"),
        )):  # fmt: skip
            trace = f"{number + 1:032x}"
            sent = {"traceparent": f"00-{trace}-{'1' * 16}-01"}
            result = client.infer(model, tensors(module, {"IN": VALUES}), headers=sent)
            (span,) = collector.wait_for(model)
            context = json.loads(result.as_numpy("CONTEXT").item())
            assert context == {"traceparent": f"00-{trace}-{span.span_id.hex()}-01"}
            assert ("identity", model) in parent_names(collector, bytes.fromhex(trace))

        answers: list[object] = []
        grpc.start_stream(lambda result, error: answers.append(error or result), headers=headers)
        grpc.async_stream_infer("repeat", tensors(tritonclient.grpc, {"IN": VALUES[0]}))
        grpc.stop_stream()
        (generation,) = collector.wait_for("generation")
        assert [event.name for event in generation.events].count("RESPONSE") == 4
        assert generation.trace_id == trace_id
        until(lambda: metrics(server)["slipway_trace_written_count"] == len(collector.spans))
        assert "identity" not in [span.name for span in collector.spans if not span.parent_span_id]
        settings = http.get_trace_settings()
        assert settings["trace_mode"] == "opentelemetry"
        assert settings["url"] == collector.url
        assert "trace_file" not in settings


def test_a_collector_that_hangs_or_refuses_costs_traces_and_nothing_else(repository, collector):
    collector.may_answer.clear()
    url = collector.url.replace("http://", "http://user:secret@")
    flags = open_telemetry(collector, url=url, bsp_max_queue_size=4, bsp_max_export_batch_size=4)
    with (
        running_server(repository, *flags, "--trace-config=rate=1") as server,
        tritonclient.http.InferenceServerClient(server.http) as http,
    ):
        for _ in range(20):
            infer(http, "identity", {"INPUT0": VALUES}, "OUTPUT0")
        until(lambda: metrics(server)["slipway_trace_lost_count"] > 0)
        collector.status = 400
        collector.may_answer.set()
        until(lambda: metrics(server)["slipway_trace_lost_count"] == 80)
        collector.status = 200
        infer(http, "identity", {"INPUT0": VALUES}, "OUTPUT0")
        until(lambda: "again" in server.log)
        assert server.log.count("traces are lost until") == 1
        assert f"'{collector.url}' accepts traces again; 80 were lost" in server.log
        assert "secret" not in server.log
        assert http.get_trace_settings()["url"] == collector.url
