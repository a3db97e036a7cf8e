"""Requests of sequences, good and bad, get the answers of NVIDIA's tritonserver over both transports."""

from __future__ import annotations

import json
import random
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from benchmarks.reference import reference_server
from benchmarks.serving import running_server
from tests.reference.differences import SEQUENCE_IDS
from tests.reference.requirement import skipped_without_reference
from tests.server.sequence_models import NUMBERS, REPEATED, SUM, add_python

Ask = Callable[[str, dict[str, object]], tuple[object, ...]]

FOR_EVER = "max_sequence_idle_microseconds: 3600000000"
SIGNED = NUMBERS.replace("TYPE_UINT64", "TYPE_INT32")
# Without a control input for ids, all of them will do. (String ids as a control input of Python models do not work in
# Triton 2.51.)
UNNAMED = NUMBERS[: NUMBERS.index(',\n  { name: "CORRID"')] + " ]"
FREE = SUM.replace('value("CORRID")', "request.correlation_id()")
STEPS = 120
IDS = (1, 2, 2**32 + 1, 2**63, "one", "2", "größe", 0, "")
# The ids outnumber the places of no model: a request that waited for a place would never be answered.
ROWS = 16


def batching(text: str) -> str:
    return f"sequence_batching {{ {FOR_EVER} {text} }}\n"


def write_models(repository: Path) -> None:
    add_python(repository, "direct", SUM, batching(f"direct {{ }} {NUMBERS}"), ROWS)
    add_python(repository, "signed", SUM, batching(f"oldest {{ }} {SIGNED}"), ROWS)
    add_python(repository, "free", FREE, batching(f"oldest {{ max_candidate_sequences: 32 }} {UNNAMED}"), ROWS)
    add_python(repository, "repeated", REPEATED, "sequence_batching { iterative_sequence: true }\n", ROWS)


def steps(model: str) -> list[dict[str, object]]:
    """Return requests in a fixed order: parameters, value and rows."""
    choice = random.Random(model)
    found: list[dict[str, object]] = []
    for _ in range(STEPS):
        parameters: dict[str, object] = {}
        if choice.random() < 0.95:
            parameters["sequence_id"] = choice.choice([each for each in IDS if model != "signed" or each != 1])
        if choice.random() < 0.4:
            parameters["sequence_start"] = choice.random() < 0.9
        if choice.random() < 0.3:
            parameters["sequence_end"] = choice.random() < 0.9
        if model == "repeated":
            parameters.pop("sequence_end", None)  # Triton never answers a last request that is rescheduled
            if parameters.get("sequence_id"):
                parameters["sequence_start"] = True
        rows = 2 if choice.random() < 0.1 else 1
        found.append({"parameters": parameters, "value": choice.randrange(4), "rows": rows})
    return found


def has_wrong_type(model: str, step: dict[str, object]) -> bool:
    """Return whether the request's id is not of the type of the model's control input: see `SEQUENCE_IDS`."""
    return model in ("direct", "signed") and isinstance(step["parameters"].get("sequence_id", 0), str)


def compare(model: str, mine: Ask, other: Ask) -> None:
    for step in steps(model):
        answer = mine(model, step)
        if has_wrong_type(model, step):
            assert "sequence batching control 'CORRID' data-type is" in str(answer), SEQUENCE_IDS
        else:
            reference = other(model, step)
            assert answer == reference, (step, answer, reference)


def ask_http(port: int, model: str, step: dict[str, object]) -> tuple[object, ...]:
    shape = [step["rows"], 1]
    tensor = {"name": "IN", "shape": shape, "datatype": "INT32", "data": [step["value"]] * step["rows"]}
    body = json.dumps({"inputs": [tensor], "parameters": step["parameters"], "id": "x"}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v2/models/{model}/infer", body)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            answer = json.loads(response.read())
            return 200, answer.get("parameters"), sums(answer["outputs"])
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def sums(outputs: list[dict[str, object]]) -> dict[str, object]:
    """Return the outputs without ROWS, which counts placeholders."""
    return {output["name"]: output["data"] for output in outputs if output["name"] != "ROWS"}


def ask_grpc(stub: object, model: str, step: dict[str, object]) -> tuple[object, ...]:
    request = service_pb2.ModelInferRequest(model_name=model, id="x")
    request.inputs.add(name="IN", datatype="INT32", shape=[step["rows"], 1])
    request.raw_input_contents.append(np.full(step["rows"], step["value"], np.int32).tobytes())
    for key, value in step["parameters"].items():
        if isinstance(value, bool):
            request.parameters[key].bool_param = value
        elif isinstance(value, str):
            request.parameters[key].string_param = value
        else:
            request.parameters[key].int64_param = value - 2**64 if value >= 2**63 else value
    try:
        response = stub.ModelInfer(request, timeout=20)
    except grpc.RpcError as error:
        return error.code(), error.details()
    named = zip(response.outputs, response.raw_output_contents, strict=True)
    return 200, dict(response.parameters), {output.name: raw for output, raw in named if output.name != "ROWS"}


@pytest.fixture(scope="module")
def ports(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sequences")
    write_models(directory / "models")
    with ExitStack() as stack:
        with skipped_without_reference():
            theirs, _ = stack.enter_context(reference_server(directory / "models", directory / "log"))
        ours = stack.enter_context(running_server(directory / "models"))
        yield ours.ports, theirs


@pytest.mark.parametrize("model", ["direct", "signed", "free", "repeated"])
def test_the_answers_are_those_of_triton(ports, model):
    ours, theirs = ports
    compare(model, partial(ask_http, ours.http), partial(ask_http, theirs.http))
    with ExitStack() as stack:
        channels = [stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{each.grpc}")) for each in ports]
        mine, other = (service_pb2_grpc.GRPCInferenceServiceStub(channel) for channel in channels)
        compare(model, partial(ask_grpc, mine), partial(ask_grpc, other))
