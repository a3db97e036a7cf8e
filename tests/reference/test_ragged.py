"""Ragged inputs are batched, and configs with tensors that describe a batch accepted and refused, as by the reference
server, with the same texts."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from benchmarks.reference import reference_server
from benchmarks.serving import Ports, running_server
from tests.kits.calls import tensors
from tests.kits.repositories import write_config
from tests.reference.requirement import skipped_without_reference

# Answers with the shapes of x in its execution, in ascending order.
MODEL = """import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        given = [pb_utils.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        shapes = repr(sorted(array.shape for array in given)).encode()
        answers = []
        for array in given:
            output = pb_utils.Tensor("y", np.full((len(array), 1), shapes, np.object_))
            answers.append(pb_utils.InferenceResponse([output]))
        return answers
"""
IO = """backend: "python"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ DIMS ] RAGGED } ]
output [ { name: "y" data_type: TYPE_STRING dims: [ 1 ] } ]
"""
FOUR = "dynamic_batching { preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 30000000 }\n"
SOON = "dynamic_batching { max_queue_delay_microseconds: 100000 }\n"
DESCRIBED = """batch_input [ { kind: BATCH_ELEMENT_COUNT target_name: "n" data_type: TYPE_INT32 source_input: "x" },
{ kind: BATCH_ITEM_SHAPE target_name: [ "a", "b" ] data_type: TYPE_FP32 source_input: "x" } ]
"""
RAGGED = "allow_ragged_batch: true"
KINDS = (
    "BATCH_ELEMENT_COUNT",
    "BATCH_ACCUMULATED_ELEMENT_COUNT",
    "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO",
    "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE",
    "BATCH_ITEM_SHAPE",
    "BATCH_ITEM_SHAPE_FLATTEN",
)
SOURCES = {"none": "", "two": 'source_input: [ "x", "x" ]', "unknown": 'source_input: "z"', "one": 'source_input: "x"'}
TYPES = ("TYPE_INT32", "TYPE_FP32", "TYPE_INT64", "TYPE_FP16", "TYPE_STRING", "TYPE_INVALID")
# Not without a target: the reference would crash.
TARGETS = {"one": '"y"', "unknown": '"z"', "twice": '"y", "y"', "two": '"y", "z"'}


def config(extra="", *, dims="-1", ragged=RAGGED):
    return IO.replace("DIMS", dims).replace("RAGGED", ragged) + extra


def batch_input(kind="BATCH_ELEMENT_COUNT", source=SOURCES["one"], datatype="TYPE_FP32"):
    return f'batch_input [ {{ kind: {kind} target_name: "n" data_type: {datatype} {source} }} ]\n'


def batch_output(target='"y"', source=SOURCES["one"]):
    return f"batch_output [ {{ kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: [ {target} ] {source} }} ]\n"


SERVED = {
    "ragged": config(FOUR),
    "matrices": config(FOUR, dims="-1, 2"),
    "described": config(FOUR + DESCRIBED + batch_output('"y"')),
    "equal": config(SOON, ragged=""),
    "unbatched": config(ragged=RAGGED),
}
CONFIGS = {
    **{f"{kind} {name}": config(batch_input(kind, text)) for kind in KINDS for name, text in SOURCES.items()},
    **{f"input {name}": config(batch_input(datatype=name)) for name in TYPES},
    **{f"output {name}": config(batch_output(text)) for name, text in TARGETS.items()},
    **{f"output source {name}": config(batch_output(source=text)) for name, text in SOURCES.items()},
    "ragged without batches": config().replace("max_batch_size: 8", "max_batch_size: 0"),
}


def named(case: str) -> str:
    return re.sub(r"\W", "_", case).lower()


def write_models(repository: Path) -> None:
    for name, text in {**SERVED, **{named(case): text for case, text in CONFIGS.items()}}.items():
        (write_config(repository, name, text) / "model.py").write_text(MODEL)


@pytest.fixture(scope="module")
def servers(tmp_path_factory) -> Iterator[tuple[Ports, Ports]]:
    """Yield the ports of Slipway and of the reference server, which both load models on request."""
    directory = tmp_path_factory.mktemp("ragged")
    write_models(directory / "models")
    words = ("--model-control-mode=explicit", *(f"--load-model={name}" for name in SERVED))
    with ExitStack() as stack:
        with skipped_without_reference():
            theirs, _ = stack.enter_context(reference_server(directory / "models", directory / "log", *words))
        yield stack.enter_context(running_server(directory / "models", *words)).ports, theirs


def both(servers, ask):
    ours, theirs = map(ask, servers)
    assert ours == theirs
    return ours


def together(ports: Ports, model: str, transport: str, arrays) -> list[object]:
    """Send the requests at once; return the answers in their order."""
    module, port = {"http": (tritonclient.http, ports.http), "grpc": (tritonclient.grpc, ports.grpc)}[transport]

    def one(array):
        with module.InferenceServerClient(f"127.0.0.1:{port}") as client:
            try:
                return client.infer(model, tensors(module, {"x": array})).as_numpy("y").tolist()
            except InferenceServerException as error:
                return error.message()

    with ThreadPoolExecutor(len(arrays)) as threads:
        return list(threads.map(one, arrays))


def zeros(*shapes):
    return [np.zeros(shape, np.float32) for shape in shapes]


VECTORS = ((1, 2), (1, 4), (1, 1), (1, 3))


@pytest.mark.parametrize("transport", ["http", "grpc"])
@pytest.mark.parametrize(
    ("model", "shapes", "executed"),
    [
        ("ragged", VECTORS, [VECTORS]),
        ("ragged", ((2, 5), (1, 7), (1, 0)), [((2, 5), (1, 7), (1, 0))]),
        ("matrices", ((1, 3, 2), (2, 1, 2), (1, 9, 2)), [((1, 3, 2), (2, 1, 2), (1, 9, 2))]),
        ("described", VECTORS, [VECTORS]),
        ("equal", VECTORS, [(shape,) for shape in VECTORS]),
        ("unbatched", VECTORS, [(shape,) for shape in VECTORS]),
    ],
)
def test_requests_are_executed_together_as_by_the_reference(servers, transport, model, shapes, executed):
    found = both(servers, lambda ports: together(ports, model, transport, zeros(*shapes)))
    batch_of = {shape: batch for batch in executed for shape in batch}
    assert found == [[[repr(sorted(batch_of[shape])).encode()]] * shape[0] for shape in shapes]


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_request_that_does_not_fit_is_refused_with_the_same_text(servers, transport):
    for shape in ((1, 2, 3), (9, 1), (3,)):
        (found,) = both(servers, lambda ports, shape=shape: together(ports, "unbatched", transport, zeros(shape)))
        assert "x" in found or "batch-size" in found


def post(port: int, path: str) -> tuple[int, object]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", b"{}", method="POST")
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_is_accepted_and_refused_alike(servers, case):
    both(servers, lambda ports: post(ports.http, f"/v2/repository/models/{named(case)}/load"))


@pytest.mark.parametrize("model", SERVED)
def test_the_tensors_are_shown_alike(servers, model):
    def shown(ports: Ports) -> object:
        found = []
        for path in ("", "/config"):
            with urllib.request.urlopen(f"http://127.0.0.1:{ports.http}/v2/models/{model}{path}") as response:
                found.append(json.loads(response.read()))
        return found

    both(servers, shown)
