"""Loads with the rate limiter are accepted and refused as by NVIDIA's tritonserver, with the same texts."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.reference import reference_server
from benchmarks.serving import running_server
from tests.kits.repositories import write_config
from tests.reference.requirement import skipped_without_reference

MODEL = """import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        tensors = [pb_utils.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", tensor)]) for tensor in tensors]
"""
IO = """input [ { name: "x" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 1 ] } ]
"""
# Model -> the resources of its instances, and their number.
MODELS = {
    "four": ('{ name: "R1" count: 4 }', 1),
    "shared": ('{ name: "R1" global: true count: 2 }', 1),
    "twice": ('{ name: "R2" count: 3 }, { name: "R2" count: 1 }', 2),
    "both": ('{ name: "R1" count: 2 }, { name: "R2" count: 5 }', 1),
    "uncounted": ('{ name: "R3" global: true }', 1),
    "unnamed": ("{ count: 3 }", 1),
}
FLAGS = {
    "no counts": (),
    "small counts": ("--rate-limit-resource=R1:9:0", "--rate-limit-resource=R1:3:0", "--rate-limit-resource=R2:4"),
    "another device": ("--rate-limit-resource=R1:9:1", "--rate-limit-resource=R2:9"),
    "letter case": ("--rate-limit-resource=r1:9", "--rate-limit-resource=R3:0"),
}
# Loaded (+) and unloaded (-) in this order.
STEPS = ("+four", "+shared", "+twice", "+both", "+uncounted", "+unnamed", "-four", "-both", "+shared", "+four")


def write_models(repository: Path) -> None:
    for name, (resources, count) in MODELS.items():
        limiter = f"rate_limiter {{ resources [ {resources} ] priority: 2 }}"
        group = f"instance_group [ {{ kind: KIND_CPU count: {count} {limiter} }} ]\n"
        (write_config(repository, name, f'backend: "python"\n{IO}{group}') / "model.py").write_text(MODEL)


def post(port: int, path: str, body: object) -> tuple[int, object]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), method="POST")
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, json.loads(response.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def answers(port: int) -> list[object]:
    """Return the answer to each step, and what the model answers afterwards."""
    tensor = {"name": "x", "shape": [1], "datatype": "FP32", "data": [3.0]}
    found = []
    for step in STEPS:
        sign, name = step[0], step[1:]
        found.append((step, post(port, f"/v2/repository/models/{name}/{'load' if sign == '+' else 'unload'}", {})))
        if sign == "-":  # it goes on after its answer
            while any(
                row["state"] == "UNLOADING" for row in post(port, "/v2/repository/index", {})[1] if "state" in row
            ):
                pass
        else:
            status, answer = post(port, f"/v2/models/{name}/infer", {"inputs": [tensor]})
            found.append((name, status, answer.get("outputs"), answer.get("error")))
    return found


@pytest.mark.parametrize("flags", FLAGS)
def test_models_are_accepted_and_refused_alike(tmp_path, flags):
    write_models(tmp_path / "models")
    words = ("--rate-limit=execution_count", "--model-control-mode=explicit", *FLAGS[flags])
    with ExitStack() as stack:
        with skipped_without_reference():
            theirs, _ = stack.enter_context(reference_server(tmp_path / "models", tmp_path / "log", *words))
        ours = stack.enter_context(running_server(tmp_path / "models", *words))
        assert answers(ours.ports.http) == answers(theirs.http)
