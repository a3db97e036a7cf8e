"""A server with --model-namespacing over both protocols: two repositories that share names."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from benchmarks.serving import RunningServer, running_server
from tests.kits.calls import infer
from tests.kits.engine import ensemble, identity

AMBIGUOUS = "There are 2 identifiers of model 'm' in global map, model namespace must be provided to resolve ambiguity."
VALUES = {"INPUT0": np.array([[1.0, 2.0]], np.float32)}
PYTHON = """
backend: "python"
max_batch_size: 8
input {{ name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] }}
output {{ name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] }}
{extra}
"""
ADD = """import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        arrays = [pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", array + {number})]) for array in arrays]
"""
CALL = """import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            call = pb_utils.InferenceRequest(
                model_name="m", requested_output_names=["OUTPUT0"], inputs=request.inputs()
            )
            answer = call.exec()
            error = answer.error() if answer.has_error() else None
            answers.append(pb_utils.InferenceResponse([] if error else answer.output_tensors(), error))
        return answers
"""


def python(repository: Path, name: str, source: str, extra: str = "") -> None:
    identity(repository, name, config=PYTHON.format(extra=extra))
    (repository / name / "1" / "model.py").write_text(source)


def write(root: Path) -> tuple[Path, Path]:
    """Write two repositories: each has `m`, an ensemble and a calling model that use it."""
    for place, number in (("one", 1), ("two", 2)):
        python(root / place, "m", ADD.format(number=number))
        python(root / place, f"caller{number}", CALL)
        ensemble(root / place, f"e{number}", "m")
    return root / "one", root / "two"


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> tuple[Path, Path]:
    return write(tmp_path_factory.mktemp("namespaces"))


@pytest.fixture(scope="module")
def server(places) -> Iterator[RunningServer]:
    flags = (f"--model-repository={places[1]}", "--model-namespacing=true", "--model-control-mode=explicit")
    with running_server(places[0], *flags, "--load-model=*", "--log-verbose=1") as running:
        yield running


@pytest.fixture(params=["http", "grpc"])
def client(server, request):
    module = {"http": tritonclient.http, "grpc": tritonclient.grpc}[request.param]
    with module.InferenceServerClient(getattr(server, request.param)) as made:
        yield made


def index(client) -> list[tuple[str, str]]:
    """Return the names and states in the repository index."""
    found = client.get_model_repository_index()
    if isinstance(found, list):
        return [(row["name"], row.get("state", "")) for row in found]
    return [(row.name, row.state) for row in found.models]


def answered(client, name: str) -> list[float]:
    return infer(client, name, VALUES, "OUTPUT0").ravel().tolist()


def test_ensembles_and_business_logic_use_their_neighbours(client):
    assert client.is_server_ready()
    assert [answered(client, name) for name in ("e1", "e2", "caller1", "caller2")] == [[2, 3], [3, 4]] * 2


def test_an_ambiguous_name_is_refused(client):
    for ask in (client.get_model_metadata, client.get_model_config, lambda name: answered(client, name)):
        with pytest.raises(InferenceServerException) as caught:
            ask("m")
        assert caught.value.message() == AMBIGUOUS
        assert caught.value.status() in {"400", "StatusCode.INVALID_ARGUMENT"}
    with pytest.raises(InferenceServerException, match="requested model 'm' is not available"):
        client.get_inference_statistics("m")


def test_the_index_lists_both_by_namespace(client):
    names = ["caller1", "e1", "m", "caller2", "e2", "m"]
    assert index(client) == [(name, "READY") for name in names]


def test_the_metrics_and_the_log_say_which_is_meant(server, places):
    with tritonclient.http.InferenceServerClient(server.http) as client:
        answered(client, "e1")
    with urllib.request.urlopen(f"http://{server.metrics}/metrics") as response:
        text = response.read().decode()
    for place in places:
        assert f'nv_inference_request_success{{model="m",namespace="{place}",version="1"}} ' in text
        assert f"successfully loaded '{place}::m'" in server.log
        assert f"{place}::m " in server.log  # the table of the models
    assert f'namespace=\\"{places[0]}\\"' in server.log  # of a request


def test_a_name_is_unloaded_and_loaded_in_every_repository(client):
    client.unload_model("m")
    for name in ("m", "e1", "e2"):
        with pytest.raises(InferenceServerException):
            answered(client, name)
    client.load_model("m")
    assert [answered(client, name) for name in ("e1", "e2", "caller1", "caller2")] == [[2, 3], [3, 4]] * 2
