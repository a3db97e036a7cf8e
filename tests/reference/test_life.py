"""A server without its repository, or with models that failed, answers and logs as NVIDIA's tritonserver does.

What Slipway does differently on purpose is in `DIFFERENT`, and held to be different.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc import service_pb2_grpc

from benchmarks.reference import CannotRunError, reference_server
from benchmarks.serving import Ports, running_server
from tests.reference.answers import Answer, ask_grpc, ask_http
from tests.reference.grpc_cases import GrpcCase
from tests.reference.http_cases import HttpCase
from tests.reference.requirement import skipped_without_reference

ECHO = """import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        tensors = [pb_utils.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", tensor)]) for tensor in tensors]
"""
IO = """input [ { name: "x" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 1 ] } ]
"""
PYTHON = f'backend: "python"\n{IO}'
MOST = 2**64 - 1
LEVELS = f"max_batch_size: 4\ndynamic_batching {{ priority_levels: {MOST} default_priority_level: {MOST} }}\n"
# Model -> its version directories, its config.pbtxt.
MODELS = {
    "good": (["1"], PYTHON),
    "levels": (["1"], f"{PYTHON}{LEVELS}"),
    "odd": (["1", "003", "abc"], PYTHON),
    "misspelt": (["1"], "naem: 1"),
    "misnamed": (["1"], f'name: "other"\n{PYTHON}'),
    "versionless": ([], PYTHON),
    "oddly": (["003", "abc"], PYTHON),
    "specific": (["1"], f"{PYTHON}version_policy {{ specific {{ versions: [ 5 ] }} }}"),
    "backendless": (["1"], f'backend: "nothing"\n{IO}'),
}
UNSERVED = ("misspelt", "misnamed", "versionless", "oddly", "specific", "backendless", "absent")
TENSOR = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1.5]}
ROWS = {**TENSOR, "shape": [1, 1]}

TWICE = "A key given twice is refused: what a gateway has checked may not be what runs."
DIFFERENT = {"http: generate* parameter* twice": TWICE, "http: generate* id twice": TWICE}


def write_models(repository: Path) -> Path:
    for name, (versions, config) in MODELS.items():
        for version in versions:
            (repository / name / version).mkdir(parents=True)
            (repository / name / version / "model.py").write_text(ECHO)
        (repository / name).mkdir(exist_ok=True, parents=True)
        (repository / name / "config.pbtxt").write_text(config)
    return repository


def http(name: str, method: str, path: str, body: object = None) -> HttpCase:
    text = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpCase(f"http: {name}", path, method, text)


def about(model: str) -> Iterator[HttpCase | GrpcCase]:
    """Yield the requests that can be made about a model, most of them with and without a version."""
    for version in ("", "/versions/1", "/versions/7"):
        path = f"/v2/models/{model}{version}"
        for what in ("", "/ready", "/config", "/stats"):
            yield http(f"{model}{version}{what}", "GET", path + what)
        yield http(f"{model}{version} infer", "POST", f"{path}/infer", {"inputs": [TENSOR]})
        yield http(f"{model}{version} generate", "POST", f"{path}/generate", {"x": 1.5})
    for version in ("", "1", "7"):
        label = f"grpc: {model} {version}"
        yield GrpcCase(f"{label} ready", "ModelReady", messages.ModelReadyRequest(name=model, version=version))
        yield GrpcCase(f"{label} metadata", "ModelMetadata", messages.ModelMetadataRequest(name=model, version=version))
        yield GrpcCase(f"{label} config", "ModelConfig", messages.ModelConfigRequest(name=model, version=version))
        yield GrpcCase(
            f"{label} stats", "ModelStatistics", messages.ModelStatisticsRequest(name=model, version=version)
        )
        request = messages.ModelInferRequest(model_name=model, model_version=version)
        request.inputs.add(name="x", datatype="FP32", shape=[1]).contents.fp32_contents.append(1.5)
        yield GrpcCase(f"{label} infer", "ModelInfer", request)


def about_the_server() -> Iterator[HttpCase | GrpcCase]:
    for path in ("live", "ready"):
        yield http(path, "GET", f"/v2/health/{path}")
    yield http("stats", "GET", "/v2/models/stats")
    yield http("index ready", "POST", "/v2/repository/index", {"ready": True})
    yield http("index", "POST", "/v2/repository/index", {})
    for action in ("load", "unload"):
        yield http(action, "POST", f"/v2/repository/models/good/{action}", {})
    yield GrpcCase("grpc: live", "ServerLive", messages.ServerLiveRequest())
    yield GrpcCase("grpc: ready", "ServerReady", messages.ServerReadyRequest())
    yield GrpcCase("grpc: stats", "ModelStatistics", messages.ModelStatisticsRequest())
    yield GrpcCase("grpc: index", "RepositoryIndex", messages.RepositoryIndexRequest())
    yield GrpcCase("grpc: load", "RepositoryModelLoad", messages.RepositoryModelLoadRequest(model_name="good"))
    yield GrpcCase("grpc: unload", "RepositoryModelUnload", messages.RepositoryModelUnloadRequest(model_name="good"))


def about_priorities() -> Iterator[HttpCase | GrpcCase]:
    for priority in (0, 1, 2**31, 2**32, 2**63 - 1, 2**63, MOST, MOST + 1, -1, 1.5, "1", True):
        body = {"inputs": [ROWS], "parameters": {"priority": priority}}
        yield http(f"priority {priority!r}", "POST", "/v2/models/levels/infer", body)
    choices = {"int64_param": (0, 1, 2**63 - 1, -1), "uint64_param": (0, 1, 2**63, MOST), "string_param": ("1",)}
    for kind, values in choices.items():
        for value in values:
            request = messages.ModelInferRequest(model_name="levels")
            request.inputs.add(name="x", datatype="FP32", shape=[1, 1]).contents.fp32_contents.append(1.5)
            setattr(request.parameters["priority"], kind, value)
            yield GrpcCase(f"grpc: priority {kind} {value}", "ModelInfer", request)


def about_keys_given_twice() -> Iterator[HttpCase]:
    texts = {
        "input twice": b'{"x":1,"x":2}',
        "input, and among the parameters": b'{"x":1,"parameters":{"x":2}}',
        "parameter twice": b'{"x":1,"a":1,"a":2}',
        "parameters twice": b'{"x":1,"parameters":{"a":1},"parameters":{"b":2}}',
        "id twice": b'{"x":1,"id":"a","id":"b"}',
        "parameter, and among the parameters": b'{"x":1,"a":1,"parameters":{"a":2}}',
    }
    for name, text in texts.items():
        for route in ("generate", "generate_stream"):
            yield http(f"{route} {name}", "POST", f"/v2/models/good/{route}", text)


@contextmanager
def both(repository: Path, log: Path, *flags: str) -> Iterator[tuple[Ports, Ports, Callable[[], str]]]:
    """Yield the ports of Slipway and of the reference server, and a function that returns Slipway's log."""
    with ExitStack() as stack:
        with skipped_without_reference():
            theirs, _ = stack.enter_context(reference_server(repository, log, *flags, until="/v2"))
        ours = stack.enter_context(running_server(repository, *flags))
        yield ours.ports, theirs, lambda: ours.log


def ask(ports: Ports, case: HttpCase | GrpcCase) -> Answer:
    if isinstance(case, HttpCase):
        return ask_http(ports.http, case)
    with grpc.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
        return ask_grpc(service_pb2_grpc.GRPCInferenceServiceStub(channel), case)


def without_times(answer: object) -> str:
    """Return an answer without what a clock has measured."""
    return re.sub(r"'(ns|last_inference)': '?\d+'?", r"'\1': 0", str(answer))


def compare(ours: Ports, theirs: Ports, cases: Iterator[HttpCase | GrpcCase]) -> int:
    wrong, count = [], 0
    for case in cases:
        count += 1
        one, other = without_times(ask(ours, case)), without_times(ask(theirs, case))
        why = next((why for pattern, why in DIFFERENT.items() if fnmatchcase(case.id, pattern)), None)
        if (one != other) if why is None else (one == other):
            wrong.append(f"{case.id}: {why or ''}\n  slipway:   {one}\n  reference: {other}")
    assert not wrong, "\n".join(wrong)
    return count


def test_without_its_repository(tmp_path):
    cases = [*about_the_server(), *about("good")]
    with both(tmp_path / "no", tmp_path / "log", "--exit-on-error=false") as (ours, theirs, _):
        assert compare(ours, theirs, (case for case in cases if "index" not in case.id)) > 40


# Slipway writes one of these for each line that contains it in the reference's log.
LINES = (
    "Poll failed for model directory 'misspelt': failed to read text proto from ",
    "Poll failed for model directory 'misnamed': unexpected directory name 'misnamed' for model 'other', directory",
    "ignore version directory '003' which contains leading zeros in its directory name",
    "ignore version directory 'abc' which fails to convert to integral number",
    "failed to load model 'versionless': at least one version must be available under the version policy of model",
    "version 5 is specified for model 'specific', but the version directory is not present",
    "successfully loaded 'good'",
    "loading: odd:1",
)


def test_with_models_that_failed(tmp_path):
    repository = write_models(tmp_path / "models")
    with both(repository, tmp_path / "log", "--exit-on-error=false") as (ours, theirs, log):
        cases = [*about_the_server(), *(case for model in UNSERVED for case in about(model)), *about("odd")]
        cases += [*about_priorities(), *about_keys_given_twice()]
        known = (case for case in cases if "index" not in case.id or "ready" in case.id)
        assert compare(ours, theirs, known) > 250
        reference = (tmp_path / "log").read_text(errors="replace")
        assert [line for line in LINES if (line in reference) != (line in log())] == []
        assert [line for line in LINES if line not in reference] == []


def test_models_that_lose_their_versions(tmp_path):
    repositories = [write_models(tmp_path / name / "models") for name in ("ours", "theirs")]
    flags = ("--model-control-mode=explicit",)
    with ExitStack() as stack:
        with skipped_without_reference():
            theirs, _ = stack.enter_context(reference_server(repositories[1], tmp_path / "log", *flags))
        ours = stack.enter_context(running_server(repositories[0], *flags)).ports

        def change(model: str, action: str) -> None:
            case = http(f"{action} {model}", "POST", f"/v2/repository/models/{model}/{action}", {})
            compare(ours, theirs, iter([case]))

        for model in ("good", "odd", "versionless", "misspelt", "absent"):
            change(model, "load")
        for repository in repositories:
            shutil.rmtree(repository / "odd" / "1")
        change("odd", "load")  # what served goes on serving
        change("good", "unload")
        for ports in (ours, theirs):
            while "UNLOADING" in str(ask(ports, http("index", "POST", "/v2/repository/index", {}))):
                pass
        models = ("good", "odd", "versionless", "misspelt", "absent")
        ready = http("ready", "GET", "/v2/health/ready")
        compare(ours, theirs, iter([ready, *(case for model in models for case in about(model))]))


@pytest.mark.parametrize(("value", "quoted"), [("0", False), ("1", True), ("false", True), ("", True)])
def test_messages_are_escaped_unless_the_environment_says_0(tmp_path, monkeypatch, value, quoted):
    monkeypatch.setenv("TRITON_SERVER_ESCAPE_LOG_MESSAGES", value)
    (tmp_path / "models" / "misspelt" / "1").mkdir(parents=True)
    (tmp_path / "models" / "misspelt" / "config.pbtxt").write_text("naem: 1")
    with both(tmp_path / "models", tmp_path / "log", "--exit-on-error=false") as (_, _, log):
        lines = [*(tmp_path / "log").read_text(errors="replace").splitlines(), *log().splitlines()]
    said = [line.partition("] ")[2] for line in lines if "Poll failed" in line or "Started HTTPService" in line]
    assert [text.startswith('"') and text.endswith('"') for text in said] == [quoted] * 4


@pytest.mark.parametrize("front", ["http", "grpc", "metrics"])
def test_a_port_in_use_is_named_in_the_same_words(tmp_path, front):
    repository = tmp_path / "models"
    repository.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        flags = (f"--{front}-port={port}", f"--{front}-address=127.0.0.1")
        never = "/v2/models/absent"  # its fronts start one after the other
        with (
            pytest.raises(CannotRunError) as caught,
            reference_server(repository, tmp_path / "log", *flags, until=never),
        ):
            pass
        words = [f"--{other}-port=0" for other in ("http", "grpc", "metrics") if other != front]
        command = [sys.executable, "-m", "slipway", "serve", str(repository), *flags, *words]
        ours = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if "already in use" not in str(caught.value):
        pytest.skip(f"the reference server cannot run here: {caught.value}")
    said = re.search(r'"failed to start \w+ service: [^"]*"', str(caught.value))
    assert said is not None
    assert said[0] in ours.stderr
