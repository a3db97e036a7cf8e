"""Models of a real server that share a resource never execute at once, wherever their instances run."""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from tests.kits.calls import infer
from tests.kits.repositories import write_config

IO = """max_batch_size: 4
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 1 ] } ]
"""
# Answers how many executions of other instances it has seen during its own.
WATCHING = """import os
import time
import uuid

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        own = uuid.uuid4().hex
        open(os.path.join({directory!r}, own), "w").close()
        time.sleep(0.003)
        seen = len(set(os.listdir({directory!r})) - {{own}})
        os.remove(os.path.join({directory!r}, own))
        answers = []
        for request in requests:
            rows = len(pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy())
            tensor = pb_utils.Tensor("OUTPUT0", np.full((rows, 1), seen, np.float32))
            answers.append(pb_utils.InferenceResponse([tensor]))
        return answers
"""
GATE = """

class TritonPythonModel(TritonPythonModel):
    def execute(self, requests):
        open({opened!r} + ".waiting", "w").close()
        while not os.path.exists({opened!r}):
            time.sleep(0.01)
        return super().execute(requests)
"""
INPUT = {"INPUT0": np.zeros((1, 1), np.float32)}
LIMITED = "--rate-limit=execution_count"


def group(count=1, resource="R", copies=1, priority=1):
    limiter = (
        f'rate_limiter {{ resources [ {{ name: "{resource}" count: {count} global: true }} ] priority: {priority} }}'
    )
    return f"instance_group [ {{ count: {copies} {limiter} }} ]\n"


def watching(repository: Path, name: str, config: str, mode: str = "process") -> None:
    directory = repository.parent / "executing"
    directory.mkdir(exist_ok=True)
    mode = f'parameters {{ key: "EXECUTION_MODE" value {{ string_value: "{mode}" }} }}\n'
    version = write_config(repository, name, f'backend: "python"\n{IO}{mode}{config}')
    (version / "model.py").write_text(WATCHING.format(directory=str(directory)))


def chain(repository: Path, *models: str) -> None:
    names = ["INPUT0", *(f"t{index}" for index in range(1, len(models))), "OUTPUT0"]
    steps = "".join(
        f'step {{ model_name: "{model}" model_version: -1 input_map {{ key: "INPUT0" value: "{names[index]}" }} '
        f'output_map {{ key: "OUTPUT0" value: "{names[index + 1]}" }} }}\n'
        for index, model in enumerate(models)
    )
    write_config(repository, "chain", f'platform: "ensemble"\n{IO}ensemble_scheduling {{ {steps} }}\n')


@pytest.fixture
def repository(tmp_path):
    repository = tmp_path / "models"
    watching(repository, "plain", group())
    watching(repository, "batching", group(copies=2) + "dynamic_batching { }\n")
    watching(repository, "ordered", group() + "dynamic_batching { preserve_ordering: true }\n", "thread")
    watching(repository, "urgent", group(priority=2), "thread")
    chain(repository, "plain", "urgent")
    return repository


MODELS = ("plain", "batching", "ordered", "urgent", "chain")


def seen(server, model, requests):
    """Return how many executions each of the model's executions has seen."""
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        return [infer(client, model, INPUT, "OUTPUT0").item() for _ in range(requests)]


def pending(server):
    """Return how many requests wait, of all models."""
    with urllib.request.urlopen(f"http://{server.metrics}/metrics") as response:
        text = response.read().decode()
    counts = re.findall(r"^nv_inference_pending_request_count{.*} (\d+)$", text, re.MULTILINE)
    return sum(map(int, counts))


def together(server, requests):
    """Send requests to all models, two clients each; return what they have seen."""
    clients = MODELS * 2
    with ThreadPoolExecutor(len(clients)) as threads:
        found = threads.map(seen, [server] * len(clients), clients, [requests] * len(clients))
    return Counter(value for values in found for value in values)


def test_with_one_resource_there_is_one_execution_at_a_time(serve, repository):
    server = serve(repository, LIMITED)
    assert together(server, 15) == {0: len(MODELS) * 2 * 15}


def test_with_two_resources_there_are_at_most_two(serve, repository):
    found = together(serve(repository, LIMITED, "--rate-limit-resource=R:2"), 15)
    assert found.keys() <= {0, 1}


def test_without_the_flag_models_execute_at_once(serve, repository):
    """The watching models do see each other."""
    server = serve(repository)
    while max(together(server, 5)) == 0:
        pass
    assert "model 'plain': rate_limiter has no effect without --rate-limit=execution_count" in server.log


def test_a_lower_priority_value_runs_more_often(serve, tmp_path):
    repository, opened = tmp_path / "models", tmp_path / "opened"
    watching(repository, "often", group(priority=1), "thread")
    watching(repository, "seldom", group(priority=4), "thread")
    gate = write_config(repository, "gate", f'backend: "python"\n{IO}{group()}')
    (gate / "model.py").write_text(
        WATCHING.format(directory=str(tmp_path / "executing")) + GATE.format(opened=str(opened))
    )
    server = serve(repository, LIMITED)
    order, answered = [], threading.Event()

    def note(name, error):
        order.append((name, error))
        if len(order) == 201:
            answered.set()

    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        tensor = tritonclient.grpc.InferInput("INPUT0", [1, 1], "FP32")
        tensor.set_data_from_numpy(INPUT["INPUT0"])
        for name in ("gate", *("seldom", "often") * 100):
            client.async_infer(name, [tensor], lambda result, error, name=name: note(name, error))  # noqa: ARG005
            while not (tmp_path / "opened.waiting").exists():
                time.sleep(0.01)
        while pending(server) < 200:
            time.sleep(0.01)
        opened.touch()
        assert answered.wait(100)
    assert {error for _, error in order} == {None}
    begun = Counter(name for name, _ in order[:101])  # answers of different models may overtake each other
    assert abs(begun["often"] - 80) <= 3


def test_a_process_that_dies_gives_its_resource_back(serve, tmp_path):
    repository = tmp_path / "models"
    watching(repository, "other", group())
    version = write_config(repository, "dying", f'backend: "python"\n{IO}{group()}')
    (version / "model.py").write_text(
        "import os\n\n\nclass TritonPythonModel:\n    def execute(self, requests):\n        os._exit(1)\n"
    )
    server = serve(repository, LIMITED)
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        with pytest.raises(tritonclient.grpc.InferenceServerException):
            infer(client, "dying", INPUT, "OUTPUT0")
        assert infer(client, "other", INPUT, "OUTPUT0").item() == 0


def test_a_model_that_can_never_run_is_refused_and_the_others_serve(serve, tmp_path):
    repository = tmp_path / "models"
    watching(repository, "small", group(2))
    watching(repository, "large", group(3))
    server = serve(
        repository, LIMITED, "--rate-limit-resource=R:2", "--model-control-mode=explicit", "--load-model=small"
    )
    request = urllib.request.Request(f"http://{server.http}/v2/repository/models/large/load", b"{}", method="POST")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    with caught.value as refusal:
        assert refusal.code == 400
        assert json.loads(refusal.read())["error"] == (
            "load failed for model 'large': version 1 is at UNAVAILABLE state: Invalid argument: Resource count for "
            '"R" is limited to 2 which will prevent scheduling of one or more model instances, the minimum required '
            "count is 3;\n"
        )
    with tritonclient.http.InferenceServerClient(server.http) as client:
        assert infer(client, "small", INPUT, "OUTPUT0").item() == 0
