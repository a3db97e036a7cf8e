"""With --model-namespacing, both servers find the same models by their names, and refuse the same names.

What Slipway does differently on purpose is in `DIFFERENT`, and held to be different.
"""

from __future__ import annotations

import json
import re
import shutil
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

import grpc
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc import service_pb2_grpc

from benchmarks.reference import reference_server
from benchmarks.serving import Ports, running_server
from tests.reference.answers import Answer, ask_grpc, ask_http
from tests.reference.grpc_cases import GrpcCase
from tests.reference.http_cases import HttpCase
from tests.reference.models import HEADER
from tests.reference.requirement import skipped_without_reference

ADD = """class TritonPythonModel:
    def execute(self, requests):
        arrays = [pb_utils.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", array + {number})]) for array in arrays]
"""
CALL = """class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            call = pb_utils.InferenceRequest(
                model_name="{name}", requested_output_names=["y"],
                inputs=[pb_utils.get_input_tensor_by_name(request, "x")],
            )
            answer = call.exec()
            error = answer.error() if answer.has_error() else None
            answers.append(pb_utils.InferenceResponse([] if error else answer.output_tensors(), error=error))
        return answers
"""
BROKEN = """class TritonPythonModel:
    def initialize(self, args):
        raise pb_utils.TritonModelException("no")
"""
IO = """input [ { name: "x" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 1 ] } ]
"""
STEP = """platform: "ensemble"
ensemble_scheduling {{ step [ {{
  model_name: "{name}" model_version: -1
  input_map {{ key: "x" value: "x" }} output_map {{ key: "y" value: "y" }}
}} ] }}
"""
TENSOR = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1.5]}

STATISTICS = (
    "The statistics of all models are listed. Triton 2.51 looks for their ids as if these were names, and fails."
)
GENERATE = "An error has its code's status on every route; Triton 2.51 sends 200 or 400 here."
FAILED = "A request that the model answers with an error has failed; Triton 2.51 counts it as a success."
DIFFERENT = {
    "http: stats": STATISTICS,
    "grpc: stats": STATISTICS,
    "http: calls_m generate": GENERATE,
    "http: calls_m/versions/1 generate": GENERATE,
    "http: calls_m/versions/1/stats": FAILED,
    "grpc: calls_m  stats": FAILED,
    "grpc: calls_m 1 stats": FAILED,
}
# In errors, Slipway writes a model's name without the namespace, which is a path of the server.
PLACE = re.compile(r"\b(first|second|third)::")
# Triton 2.51 adds the first ones to responses of ensembles, even without a sequence, and does not know the last one.
EXTRA = re.compile(r",? ?'sequence_(id|start|end)': (0|False|\{'\w+': ('0'|False)\})|, 'max_inflight_requests': 0")


def python(repository: Path, name: str, source: str) -> None:
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "1" / "model.py").write_text(HEADER + source)
    (repository / name / "config.pbtxt").write_text(f'backend: "python"\n{IO}')


def ensemble(repository: Path, name: str, part: str) -> None:
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(STEP.format(name=part) + IO)


def write(root: Path) -> list[Path]:
    """Write three repositories: `m` is in two of them, `same` and `bad` too, `one` only in the first."""
    places = [root / place for place in ("first", "second", "third")]
    first, second, third = places
    for place, number in ((first, 1), (second, 2)):
        python(place, "m", ADD.format(number=number))
        python(place, "bad", BROKEN)
    python(first, "one", ADD.format(number=10))
    for place, name, part in (
        (first, "e1", "m"),
        (second, "e2", "m"),
        (third, "e3", "m"),
        (third, "far", "one"),
        (first, "same", "one"),
        (second, "same", "m"),
    ):
        ensemble(place, name, part)
    python(third, "calls_one", CALL.format(name="one"))
    python(third, "calls_m", CALL.format(name="m"))
    return places


@contextmanager
def both(root: Path, *flags: str) -> Iterator[tuple[Ports, Ports, list[list[Path]]]]:
    """Yield the ports of Slipway and of the reference server, and the repositories of each."""
    repositories = [write(root / which) for which in ("ours", "theirs")]
    with ExitStack() as stack:
        words = [
            [*(f"--model-repository={place}" for place in places[1:]), "--model-namespacing=true", *flags]
            for places in repositories
        ]
        with skipped_without_reference():
            theirs, _ = stack.enter_context(reference_server(repositories[1][0], root / "log", *words[1], until="/v2"))
        ours = stack.enter_context(running_server(repositories[0][0], *words[0]))
        yield ours.ports, theirs, repositories


def http(name: str, method: str, path: str, body: object = None) -> HttpCase:
    return HttpCase(f"http: {name}", path, method, b"" if body is None else json.dumps(body).encode())


def about(model: str) -> Iterator[HttpCase | GrpcCase]:
    """Yield the requests that can be made about a model, most of them with and without a version."""
    for version in ("", "/versions/1", "/versions/7"):
        path = f"/v2/models/{model}{version}"
        for what in ("", "/ready", "/config", "/stats"):
            yield http(f"{model}{version}{what}", "GET", path + what)
        yield http(f"{model}{version} infer", "POST", f"{path}/infer", {"inputs": [TENSOR]})
        yield http(f"{model}{version} generate", "POST", f"{path}/generate", {"x": 1.5})
    yield http(f"{model} trace", "GET", f"/v2/models/{model}/trace/setting")
    for version in ("", "1", "7"):
        label = f"grpc: {model} {version}"
        yield GrpcCase(f"{label} ready", "ModelReady", messages.ModelReadyRequest(name=model, version=version))
        yield GrpcCase(f"{label} metadata", "ModelMetadata", messages.ModelMetadataRequest(name=model, version=version))
        yield GrpcCase(f"{label} config", "ModelConfig", messages.ModelConfigRequest(name=model, version=version))
        yield GrpcCase(
            f"{label} stats", "ModelStatistics", messages.ModelStatisticsRequest(name=model, version=version)
        )
        yield GrpcCase(f"{label} infer", "ModelInfer", request(model, version))
    yield GrpcCase(f"grpc: {model} stream", "ModelStreamInfer", (request(model), request(model)))


def request(model: str, version: str = "") -> messages.ModelInferRequest:
    made = messages.ModelInferRequest(model_name=model, model_version=version)
    made.inputs.add(name="x", datatype="FP32", shape=[1]).contents.fp32_contents.append(1.5)
    return made


def about_the_server() -> Iterator[HttpCase | GrpcCase]:
    for path in ("live", "ready"):
        yield http(path, "GET", f"/v2/health/{path}")
    yield http("index ready", "POST", "/v2/repository/index", {"ready": True})
    yield http("index", "POST", "/v2/repository/index", {})
    yield http("stats", "GET", "/v2/models/stats")
    yield GrpcCase("grpc: index", "RepositoryIndex", messages.RepositoryIndexRequest())
    yield GrpcCase("grpc: stats", "ModelStatistics", messages.ModelStatisticsRequest())


def changes(*words: str) -> Iterator[HttpCase]:
    """Yield requests to load and unload models ("load NAME"), each followed by what is there afterwards."""
    for text in words:
        action, model = text.split()
        yield http(text, "POST", f"/v2/repository/models/{model}/{action}", {})


def asked(ports: Ports, case: HttpCase | GrpcCase, root: Path) -> str:
    """Return an answer without what a clock has measured, without the name of the server's own directory, and without
    what differs in many answers."""
    answer: Answer
    if isinstance(case, HttpCase):
        answer = ask_http(ports.http, case)
    else:
        with grpc.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
            answer = ask_grpc(service_pb2_grpc.GRPCInferenceServiceStub(channel), case)
    text = re.sub(r"'(ns|last_inference)': '?\d+'?", r"'\1': 0", str(answer))
    text = re.sub(rf"{re.escape(str(root))}/(ours|theirs)/", "", text)
    return EXTRA.sub("", PLACE.sub("", text)).replace("{, ", "{").replace("'parameters': {}, ", "")


def compare(ours: Ports, theirs: Ports, cases: Iterable[HttpCase | GrpcCase], root: Path) -> int:
    wrong, count = [], 0
    for case in cases:
        count += 1
        one, other = asked(ours, case, root), asked(theirs, case, root)
        why = next((why for pattern, why in DIFFERENT.items() if fnmatchcase(case.id, pattern)), None)
        if (one != other) if why is None else (one == other):
            wrong.append(f"{case.id}: {why or ''}\n  slipway:   {one}\n  reference: {other}")
    assert not wrong, "\n".join(wrong)
    return count


NAMES = ("m", "one", "e1", "e2", "e3", "far", "same", "bad", "calls_one", "calls_m", "absent")


def test_models_are_found_by_their_names(tmp_path):
    with both(tmp_path, "--exit-on-error=false") as (ours, theirs, _):
        cases = [*(case for model in NAMES for case in about(model)), *about_the_server()]
        assert compare(ours, theirs, cases, tmp_path) > 350
        metrics = [_labels(ports.metrics, tmp_path) for ports in (ours, theirs)]
        assert metrics[0] == metrics[1]


def _labels(port: int, root: Path) -> list[str]:
    """Return the labels of the models in the metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        lines = response.read().decode().splitlines()
    shown = [line.rpartition(" ")[0] for line in lines if line.startswith("nv_inference_request_success{")]
    return sorted(re.sub(rf"{re.escape(str(root))}/(ours|theirs)/", "", line) for line in shown)


def test_models_are_loaded_and_unloaded_by_their_names(tmp_path):
    with both(tmp_path, "--model-control-mode=explicit", "--load-model=e1") as (ours, theirs, repositories):

        def settled() -> None:
            for ports in (ours, theirs):
                while "UNLOADING" in asked(ports, http("index", "POST", "/v2/repository/index", {}), tmp_path):
                    pass

        def everything() -> Iterator[HttpCase]:
            yield http("index", "POST", "/v2/repository/index", {})
            for model in NAMES:
                yield http(f"{model} infer", "POST", f"/v2/models/{model}/infer", {"inputs": [TENSOR]})

        def change(*words: str) -> None:
            for word in words:
                compare(ours, theirs, changes(word), tmp_path)
                settled()
                compare(ours, theirs, everything(), tmp_path)

        compare(ours, theirs, everything(), tmp_path)
        change("load bad", "load absent", "unload never", "load same", "unload m")
        for places in repositories:
            shutil.move(places[0] / "m", places[0].parent / "aside")
        change("load e1", "unload same", "unload e1")


def test_without_namespaces_names_are_unique(tmp_path):
    places = write(tmp_path)[:2]
    flags = (f"--model-repository={places[1]}", "--model-namespacing=false", "--exit-on-error=false")
    with ExitStack() as stack:
        with skipped_without_reference():
            theirs, _ = stack.enter_context(reference_server(places[0], tmp_path / "log", *flags, until="/v2"))
        ours = stack.enter_context(running_server(places[0], *flags)).ports
        for model in ("m", "e1", "one"):
            compare(ours, theirs, about(model), tmp_path)
