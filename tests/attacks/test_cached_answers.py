"""No request gets the cached response of another: version, parameters, forwarded headers, shapes and loads count."""

from __future__ import annotations

import json

import pytest

from benchmarks.serving import running_server
from tests.attacks.conftest import Target
from tests.kits.repositories import write_config

# Answers with everything that it can see of a request, and of how it was loaded.
SEEING = """import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.own = [args["model_name"], args["model_version"], config["parameters"]["mark"]["string_value"]]

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        tensors = [[tensor.name(), list(tensor.as_numpy().shape)] for tensor in request.inputs()]
        seen = json.dumps([*self.own, json.loads(request.parameters()), sorted(tensors)])
        return pb_utils.InferenceResponse([pb_utils.Tensor("SEEN", np.array([seen.encode()], np.object_))])
"""
CONFIG = """backend: "python"
input [
  { name: "A" data_type: TYPE_INT32 dims: [ -1, -1 ] optional: true },
  { name: "B" data_type: TYPE_INT32 dims: [ -1, -1 ] optional: true }
]
output { name: "SEEN" data_type: TYPE_STRING dims: [ 1 ] }
response_cache { enable: true }
version_policy { all { } }
parameters { key: "mark" value { string_value: "first" } }
"""


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for name in ("one", "two"):
        version = write_config(root, name, CONFIG)
        for number in (1, 2):
            (version.parent / str(number)).mkdir(exist_ok=True)
            (version.parent / str(number) / "model.py").write_text(SEEING)
    flags = ["--cache-config=local,size=1000000", "--model-control-mode=explicit", "--load-model=*"]
    with running_server(root, *flags, "--http-header-forward-pattern=X-Tenant") as server:
        yield Target(server.ports.http, server.pid)


def tensor(name, *shape):
    count = shape[0] * shape[1]
    return {"name": name, "datatype": "INT32", "shape": shape, "data": [0] * count}


DIFFERENT = [
    ("one", [tensor("A", 2, 3)], {}, {}),
    ("one", [tensor("A", 3, 2)], {}, {}),
    ("one", [tensor("A", 6, 1)], {}, {}),
    ("one", [tensor("B", 2, 3)], {}, {}),
    ("one", [tensor("A", 2, 3), tensor("B", 0, 0)], {}, {}),
    ("one", [tensor("A", 1, 3), tensor("B", 1, 3)], {}, {}),
    ("one", [tensor("A", 2, 3)], {"user": "a"}, {}),
    ("one", [tensor("A", 2, 3)], {"user": "b"}, {}),
    ("one", [tensor("A", 2, 3)], {"user": 1}, {}),
    ("one", [tensor("A", 2, 3)], {"user": "1"}, {}),
    ("one", [tensor("A", 2, 3)], {"user": True}, {}),
    ("one", [tensor("A", 2, 3)], {}, {"X-Tenant": "a"}),
    ("one", [tensor("A", 2, 3)], {}, {"X-Tenant": "b"}),
    ("one/versions/1", [tensor("A", 2, 3)], {}, {}),
    ("two", [tensor("A", 2, 3)], {}, {}),
]


def seen(target, model, inputs, parameters, headers):
    body = json.dumps({"inputs": inputs, "parameters": parameters}).encode()
    answer = target.ask("POST", f"/v2/models/{model}/infer", body, headers)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)["outputs"][0]["data"][0]


def counted(target):
    (stats,) = json.loads(target.ask("GET", "/v2/models/one/versions/2/stats").body)["model_stats"]
    return tuple(stats["inference_stats"][kind]["count"] for kind in ("cache_hit", "cache_miss"))


def test_whatever_the_model_can_see_is_kept_apart(target):
    first = [seen(target, *each) for each in DIFFERENT]
    assert len(set(first)) == len(DIFFERENT)
    hits, misses = counted(target)
    assert [seen(target, *each) for each in DIFFERENT] == first
    of_version_2 = sum(each[0] == "one" for each in DIFFERENT)
    assert counted(target) == (hits + of_version_2, misses)


def test_a_load_with_another_configuration_leaves_nothing_behind(target):
    given = ("two", [tensor("A", 1, 1)], {}, {})
    config = json.loads(target.ask("GET", "/v2/models/two/config").body)
    for mark in ("second", "first"):
        config["parameters"]["mark"]["string_value"] = mark
        body = json.dumps({"parameters": {"config": json.dumps(config)}}).encode()
        assert target.ask("POST", "/v2/repository/models/two/load", body).status == 200
        assert [f'"{mark}"' in seen(target, *given) for _ in range(2)] == [True, True]
