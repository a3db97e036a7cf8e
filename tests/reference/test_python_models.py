"""Python models find the same `triton_python_backend_utils` here as in the reference server, and are counted alike.

Wrong arguments are refused in the same words, business logic calls end in the same way, and failures and latencies are
counted in the same families. What Slipway does differently on purpose is in `DIFFERENT`, and held to be different.
"""

from __future__ import annotations

import json
import random
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from fnmatch import fnmatchcase

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2_grpc

from benchmarks.reference import reference_server
from benchmarks.serving import Ports, running_server
from tests.kits.repositories import write_config
from tests.reference.constructor_cases import CONFIG, EXPRESSIONS, MODEL
from tests.reference.grpc_cases import request
from tests.reference.requirement import skipped_without_reference

IO = """input [ { name: "x" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 1 ] } ]
"""
MOODY = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        tensors = [pb_utils.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        if any(tensor[0] == 1 for tensor in tensors):
            raise ValueError("one")
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", tensor)]) for tensor in tensors]
"""
STREAM = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            count = int(pb_utils.get_input_tensor_by_name(request, "x").as_numpy()[0])
            for index in range(count):
                tensor = pb_utils.Tensor("y", np.array([index], np.float32))
                sender.send(pb_utils.InferenceResponse([tensor]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
# Evaluates each CODE, in which `call` runs another model, and says what came of it.
CALLER = """
import numpy as np
import triton_python_backend_utils as pb_utils


def call(model, value=0.0, name="x", dtype=np.float32, shape=(1,), outputs=("y",), decoupled=False, **fields):
    tensor = pb_utils.Tensor(name, np.full(shape, value, dtype))
    asked = pb_utils.InferenceRequest(
        model_name=model, requested_output_names=list(outputs), inputs=[tensor], **fields)
    answers = asked.exec(decoupled=True) if decoupled else [asked.exec()]
    return "; ".join(said(answer) for answer in answers)


def said(answer):
    if answer.has_error():
        return answer.error().message()
    return str([(tensor.name(), tensor.as_numpy().tolist()) for tensor in answer.output_tensors()])


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            codes = pb_utils.get_input_tensor_by_name(request, "CODE").as_numpy()
            texts = [eval(code.decode()).encode() for code in codes]
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array(texts, dtype=np.object_))]))
        return responses
"""
STEP = (
    'ensemble_scheduling {{ step [ {{ model_name: "{}" model_version: -1 input_map {{ key: "x" value: "x" }} '
    'output_map {{ key: "y" value: "y" }} }} ] }}\n'
)
FLAGS = (
    "--metrics-config=summary_latencies=true",
    "--metrics-config=summary_quantiles=0.5:0.05,0.9:0.01",
    "--cache-config=local,size=1000000",
)
GETTER = "A method without parameters is called with one: Python says so in its own words."
LACKING = "Slipway's module has the class, as the stub's own module does."
# A pattern of expressions, and the reason.
DIFFERENT = {
    "t.*(?)": GETTER,
    "f.Metric().value(1)": GETTER,
    "pb_utils.Metric()": LACKING,
    "pb_utils.InferenceResponseSender()": LACKING,
    "pb_utils.InferenceResponse(*parameters=*)": "Responses have parameters, which Triton 2.51 lacks.",
    "pb_utils.Tensor.from_dlpack('x', 3)": "Slipway writes the text without the blanks that a line break left in it.",
}
# Where an object is in memory, and what today's signatures have in addition.
PASSED_OVER = re.compile(r" at 0x[0-9a-f]+|(?<=TritonError = None), parameters: object = None")


@pytest.fixture(scope="module")
def servers(tmp_path_factory) -> Iterator[tuple[Ports, Ports]]:
    """Yield the ports of Slipway and of the reference server."""
    directory = tmp_path_factory.mktemp("python")
    repository = directory / "models"
    decoupled = "model_transaction_policy { decoupled: true }\n"
    models = {
        "tryout": (CONFIG, MODEL),
        "caller": (CONFIG, CALLER),
        "moody": (f'backend: "python"\n{IO}', MOODY),
        "cached": (f'backend: "python"\nresponse_cache {{ enable: true }}\n{IO}', MOODY),
        "stream": (f'backend: "python"\n{decoupled}{IO}', STREAM),
    }
    for name, (config, source) in models.items():
        (write_config(repository, name, config) / "model.py").write_text(source)
    write_config(repository, "ens", f'platform: "ensemble"\n{IO}{STEP.format("moody")}')
    write_config(repository, "outer", f'platform: "ensemble"\n{IO}{STEP.format("ens")}')
    with ExitStack() as stack:
        with skipped_without_reference():
            theirs, _ = stack.enter_context(reference_server(repository, directory / "reference.log", *FLAGS))
        yield stack.enter_context(running_server(repository, *FLAGS)).ports, theirs


def post(ports: Ports, model: str, *tensors: dict[str, object]) -> tuple[int, dict[str, object]]:
    body = json.dumps({"inputs": tensors}).encode()
    asked = urllib.request.Request(f"http://127.0.0.1:{ports.http}/v2/models/{model}/infer", body, method="POST")
    try:
        with urllib.request.urlopen(asked, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def evaluated(ports: Ports, model: str, expressions: list[str]) -> list[str]:
    """Return what a model says about each expression."""
    code = {"name": "CODE", "shape": [len(expressions)], "datatype": "BYTES", "data": expressions}
    status, answer = post(ports, model, code)
    assert status == 200, answer
    return answer["outputs"][0]["data"]


def test_wrong_arguments_are_refused_in_the_same_words(servers):
    ours, theirs = (
        [PASSED_OVER.sub("", text) for each in EXPRESSIONS for text in evaluated(ports, "tryout", [each])]
        for ports in servers
    )
    told = {
        expression: (here, there)
        for expression, here, there in zip(EXPRESSIONS, ours, theirs, strict=True)
        if here != there
    }
    reasons = {expression: [each for each in DIFFERENT if fnmatchcase(expression, each)] for expression in told}
    assert {expression: told[expression] for expression, found in reasons.items() if not found} == {}
    assert {each for found in reasons.values() for each in found} == DIFFERENT.keys()


def calls() -> list[str]:
    """Return calls of other models, good and bad."""
    draw = random.Random(3)
    fixed = [
        "call('nope')",
        "call('moody', model_version=1)",
        "call('moody', model_version=7)",
        "call('moody', 1.0)",
        "call('ens', 1.0)",
        "call('outer', 1.0)",
        "call('moody', outputs=['z'])",
        "call('moody', outputs=['y', 'z'])",
        "call('moody', outputs=[])",
        "call('moody', name='z')",
        "call('moody', dtype=np.int32)",
        "call('moody', dtype=np.object_)",
        "call('moody', shape=(2,))",
        "call('moody', shape=(1, 1))",
        "call('stream', 2.0)",
        "call('stream', 2.0, decoupled=True)",
        "call('stream', 0.0, decoupled=True)",
        "call('stream', shape=(2,), decoupled=True)",
        "call('nope', decoupled=True)",
        "call('moody', 1.0, decoupled=True)",
        "call('moody', 0.0, decoupled=True)",
        "call('ens', 0.0, decoupled=True)",
        "call('moody', request_id='me', shape=(2,))",
        "call('moody', timeout=1000000)",
        "call('moody', flags=3, correlation_id=7)",
        "call('moody', flags=3, correlation_id='seven')",
        "call('moody', parameters={'a': 1, 'b': True, 'c': 'x'})",
    ]
    options = (
        "model_version=1",
        "decoupled=True",
        "request_id='id'",
        "shape=(1, 2)",
        "outputs=['nope']",
        "dtype=np.float64",
        "timeout=500000",
    )
    mixed = [
        f"call('{draw.choice(('moody', 'ens', 'outer', 'stream'))}', {draw.randrange(4)}.0, "
        f"{', '.join(draw.sample(options, draw.randrange(3)))})"
        for _ in range(90)
    ]
    return fixed + mixed


def test_calls_of_other_models_end_in_the_same_way(servers):
    expressions = calls()
    ours, theirs = (
        [text for expression in expressions for text in evaluated(ports, "caller", [expression])] for ports in servers
    )
    told = {
        expression: (here, there)
        for expression, here, there in zip(expressions, ours, theirs, strict=True)
        if without_paths(here) != without_paths(there)
    }
    assert told == {}


def without_paths(text: str) -> str:
    """Return the text of an exception with only the names of its files."""
    return re.sub(r"\S*/(?=1/model\.py)", "", text)


def metrics(ports: Ports) -> dict[str, float]:
    """Return the value of every series."""
    with urllib.request.urlopen(f"http://127.0.0.1:{ports.metrics}/metrics", timeout=20) as response:
        lines = response.read().decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def send(ports: Ports, model: str, number: int, draw: random.Random) -> tuple[object, ...]:
    """Send one request, good or bad, over one of the transports; return how it ended."""
    value = float(draw.randrange(2))
    if number % 2:
        status, answer = post(ports, model, {"name": "x", "shape": [1], "datatype": "FP32", "data": [value]})
        return status, without_paths(str(answer.get("error")))
    message = request(model, ("x", "FP32", [1], np.full(1, value, np.float32).tobytes()), id=str(number))
    with grpc.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
        try:
            service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(message, timeout=30)
        except grpc.RpcError as error:
            return error.code(), without_paths(error.details())
    return "ok", ""


COUNTED = re.compile(r"nv_inference_(request_success|request_failure|count|exec_count)\{|.*_summary.*_count\{")
MODELS = ("moody", "ens", "outer")


def test_failures_are_counted_under_the_same_reasons_and_latencies_in_the_same_families(servers):
    """Triton 2.51 counts each failure of an ensemble twice; here it counts once."""
    found, ends = [], []
    for ports in servers:
        before, draw = metrics(ports), random.Random(11)
        ends.append([send(ports, draw.choice(MODELS), number, draw) for number in range(120)])
        after = metrics(ports)
        mine = {name for name in after if COUNTED.match(name) and any(f'model="{model}"' in name for model in MODELS)}
        found.append({name: after[name] - before.get(name, 0.0) for name in sorted(mine)})
    assert ends[0] == ends[1]
    ours, theirs = found
    twice = re.compile(r'nv_inference_request_failure\{model="(ens|outer)",reason="OTHER"')
    assert {name: 2 * count if twice.match(name) else count for name, count in ours.items()} == theirs
    assert sum(count for name, count in ours.items() if twice.match(name)) > 30


def test_each_summary_shows_the_chosen_quantiles(servers):
    shown = [{re.sub(r'model="\w+",', "", name) for name in metrics(ports) if "_summary" in name} for ports in servers]
    assert shown[0] == shown[1]
    assert {name for name in shown[0] if 'quantile="0.9"' in name}
