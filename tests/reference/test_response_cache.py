"""The response cache answers, counts and refuses as the reference server's does.

One long sequence of requests, good and bad, over both transports goes to both servers; answers and counters are
compared. What Slipway does differently on purpose is in `DIFFERENT`, and held to be different.
"""

from __future__ import annotations

import json
import random
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2_grpc

from benchmarks.reference import reference_server
from benchmarks.serving import Ports, running_server
from tests.reference.answers import Answer, ask_grpc, ask_http
from tests.reference.grpc_cases import GrpcCase, request
from tests.reference.http_cases import HttpCase, infer, tensor
from tests.reference.models import CHAIN_STEPS, ECHO, MOODY, PAIR, PAIR_IO, PARAMETERS, _io, _python
from tests.reference.requirement import skipped_without_reference

CACHED = "response_cache { enable: true }\n"
SIZE = 1_000_000
MODELS = ("pair", "batched", "chain", "plain")
COUNTED = ("cache_hit", "cache_miss", "success")


@pytest.fixture(scope="module")
def servers(tmp_path_factory) -> Iterator[tuple[Ports, Ports]]:
    """Yield the ports of Slipway and of the reference server, both with a local cache."""
    directory = tmp_path_factory.mktemp("cached")
    repository = directory / "models"
    _python(repository, "pair", PAIR, "max_batch_size: 8\n" + PAIR_IO + CACHED)
    _python(repository, "plain", PAIR, "max_batch_size: 8\n" + PAIR_IO)
    _python(repository, "batched", PAIR, "max_batch_size: 8\ndynamic_batching { }\n" + PAIR_IO + CACHED)
    io = _io("input", ("IN", "TYPE_INT32", "-1, -1")) + _io("output", ("OUT", "TYPE_INT32", "-1, -1"))
    _python(repository, "echo", ECHO, io + CACHED)
    io = _io("input", ("CODE", "TYPE_INT32", "1")) + _io("output", ("OUT", "TYPE_INT32", "1"))
    _python(repository, "moody", MOODY, "max_batch_size: 4\n" + io + CACHED)
    io = _io("input", ("IN", "TYPE_FP32", "1")) + _io("output", ("OUT", "TYPE_STRING", "1"))
    _python(repository, "parameters", PARAMETERS, io + CACHED)
    io = _io("input", ("X", "TYPE_FP32", "4"), ("Y", "TYPE_FP32", "4")) + _io("output", ("TWICE", "TYPE_FP32", "4"))
    for name, step, cached in (("chain", "plain", CACHED), ("parts", "steps", "")):
        (repository / name / "1").mkdir(parents=True)
        steps = CHAIN_STEPS.replace("pair", step)
        config = f'platform: "ensemble"\nmax_batch_size: 8\n{io}{steps}{cached}'
        (repository / name / "config.pbtxt").write_text(config)
    _python(repository, "steps", PAIR, "max_batch_size: 8\n" + PAIR_IO + CACHED)
    flag = f"--cache-config=local,size={SIZE}"
    with ExitStack() as stack:
        with skipped_without_reference():
            theirs, _ = stack.enter_context(reference_server(repository, directory / "reference.log", flag))
        ours = stack.enter_context(running_server(repository, flag))
        yield ours.ports, theirs


def ask(ports: Ports, case: HttpCase | GrpcCase) -> Answer:
    """Return the answer without the zero sequence fields that the reference adds to an ensemble's, see differences."""
    if isinstance(case, HttpCase):
        answer = ask_http(ports.http, case)
        content = answer.content[1] if isinstance(answer.content, tuple) else answer.content
        if isinstance(content, tuple):
            content = content[0]
    else:
        with grpc.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
            answer = ask_grpc(service_pb2_grpc.GRPCInferenceServiceStub(channel), case)
        content = answer.content
    if isinstance(content, dict):
        content.pop("parameters", None)
    return answer


def counters(ports: Ports, model: str) -> dict[str, int]:
    """Return how often each thing of `COUNTED` happened."""
    with urllib.request.urlopen(f"http://127.0.0.1:{ports.http}/v2/models/{model}/stats", timeout=20) as response:
        found = json.load(response)["model_stats"][0]
    return {
        **{name: found["inference_stats"][name]["count"] for name in COUNTED},
        "executions": found["execution_count"],
        "inferences": found["inference_count"],
    }


def mixed(count: int) -> Iterator[HttpCase | GrpcCase]:
    """Yield requests that are often equal to earlier ones, over either transport, some of them bad."""
    draw = random.Random(5)
    for number in range(count):
        model = draw.choice(MODELS)
        names = ("X", "Y") if model == "chain" else ("A", "B")
        rows = draw.choice((1, 2, 3, 9)) if draw.random() < 0.4 else 1
        # of one input, because the servers check inputs in different orders
        fault = draw.choice(("datatype", "name", "dims")) if draw.random() < 0.15 else ""
        arrays = [np.full((rows, 4), draw.randrange(3), np.float32) for _ in names]
        datatypes = ("FP32", "INT32" if fault == "datatype" else "FP32")
        given = (names[0], "W" if fault == "name" else names[1])
        shapes = ([rows, 4], [rows, 2, 2] if fault == "dims" else [rows, 4])
        parts = list(zip(given, datatypes, shapes, arrays, strict=True))[:: draw.choice((1, -1))]
        case = f"{number} {model} {fault}"
        if draw.random() < 0.5:
            inputs = [tensor(*part, [int(value) for value in array.ravel()]) for *part, array in parts]
            yield infer(case, model, {"id": str(number), "inputs": inputs})
        else:
            message = request(model, *[(*part, array.tobytes()) for *part, array in parts], id=str(number))
            yield GrpcCase(case, "ModelInfer", message)


def test_every_answer_and_every_counter_is_the_same(servers):
    ours, theirs = servers
    cases = list(mixed(400))
    kinds = {type(case).__name__ for case in cases}
    assert kinds == {"HttpCase", "GrpcCase"}
    different = []
    for case in cases:
        answers = [ask(ports, case) for ports in (ours, theirs)]
        if answers[0] != answers[1]:
            different.append(f"{case.id}: {answers[0]} and {answers[1]}")
    assert "\n".join(different) == ""
    for model in MODELS:
        found = [counters(ports, model) for ports in (ours, theirs)]
        assert found[0] == found[1], model
    assert counters(ours, "pair")["cache_hit"] > 20
    assert counters(ours, "chain")["cache_hit"] > 20


def pair(name: str, value: float, **fields: object) -> HttpCase:
    values = [value] * 4
    inputs = [tensor("A", "FP32", [1, 4], values), tensor("B", "FP32", [1, 4], values)]
    return infer(name, "pair", {"inputs": inputs, **fields})


def parts(name: str, x: float, y: float) -> HttpCase:
    """A request whose second step gets x + y and x - y, and requests fewer outputs than the first one."""
    inputs = [tensor("X", "FP32", [1, 4], [x] * 4), tensor("Y", "FP32", [1, 4], [y] * 4)]
    return infer(name, "parts", {"inputs": inputs})


def echo(name: str, shape: list[int], value: int = 1) -> HttpCase:
    return infer(name, "echo", {"inputs": [tensor("IN", "INT32", shape, [value] * (shape[0] * shape[1]))]})


def asked(name: str, value: float, **fields: object) -> HttpCase:
    return infer(name, "parameters", {"inputs": [tensor("IN", "FP32", [1], [value])], **fields})


def moody(name: str, code: int) -> HttpCase:
    return infer(name, "moody", {"inputs": [tensor("CODE", "INT32", [1, 1], [code])]})


SAME = {
    "another id": (asked("first", 31, id="a"), asked("second", 31, id="b")),
    "every output by name": (pair("first", 32), pair("second", 32, outputs=[{"name": "DIFF"}, {"name": "SUM"}])),
    "priority and time-out": (pair("first", 33), pair("second", 33, parameters={"priority": 1, "timeout": 10**6})),
    "classes after values": (
        pair("first", 34),
        pair("second", 34, outputs=[{"name": "SUM", "parameters": {"classification": 2}}, {"name": "DIFF"}]),
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_the_second_answer_and_the_counters_are_the_same(servers, name):
    results = []
    for ports in servers:
        model = SAME[name][0].path.split("/")[3]
        before = counters(ports, model)
        answers = [ask(ports, case) for case in SAME[name]]
        after = counters(ports, model)
        results.append((answers, {key: after[key] - before[key] for key in ("cache_hit", "cache_miss")}))
    assert results[0] == results[1]


# Two requests, and why the reference gives the second one the response to the first.
DIFFERENT = {
    "one output": (
        "Its key does not cover the requested outputs: the second client gets an output that it did not request.",
        (pair("first", 41), pair("second", 41, outputs=[{"name": "DIFF"}])),
    ),
    "one output first": (
        "Its key does not cover the requested outputs.",
        (pair("first", 42, outputs=[{"name": "DIFF"}]), pair("second", 42)),
    ),
    "another shape": (
        "Its key does not cover shapes: the second client gets the shape of the first.",
        (echo("first", [2, 3]), echo("second", [3, 2])),
    ),
    "parameters": (
        "Its key does not cover parameters, which a model can read.",
        (asked("first", 43), asked("second", 43, parameters={"x": 1})),
    ),
    "sequence": (
        "Its key does not cover the sequence fields, which a model can read.",
        (asked("first", 44), asked("second", 44, parameters={"sequence_id": 5})),
    ),
    "steps of an ensemble": (
        "Its key does not cover the outputs that a step requests: a step gets too few, and the request fails.",
        (parts("first", 45, 45), parts("second", 90, 0)),
    ),
    "an error": (
        "It keeps failed responses, and gives the second client one without outputs; newer ones do not.",
        (moody("first", 3), moody("second", 3)),
    ),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_the_reference_mixes_up_is_kept_apart(servers, name):
    ours, theirs = servers
    why, cases = DIFFERENT[name]
    answers = [[ask(ports, case) for case in cases] for ports in (ours, theirs)]
    assert answers[0] != answers[1], f"listed as different ({why})"
    assert answers[0][1] != answers[1][1]
    model = "steps" if name == "steps of an ensemble" else cases[0].path.split("/")[3]
    before = counters(ours, model)["cache_hit"]
    again = ask(ours, cases[1])
    assert again == answers[0][1]
    assert (counters(ours, model)["cache_hit"] == before) == (name == "an error")


def test_the_reference_has_no_metric_of_the_cache_that_is_missing(servers):
    names = []
    for ports in servers:
        with urllib.request.urlopen(f"http://127.0.0.1:{ports.metrics}/metrics", timeout=20) as response:
            lines = response.read().decode().splitlines()
        names.append({line for line in lines if line.startswith(("# HELP nv_cache", "# TYPE nv_cache"))})
    assert names[0] == names[1]
    assert names[0]
