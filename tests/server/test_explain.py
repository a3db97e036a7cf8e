"""Explained requests to a running server, over every protocol: batches, ensembles, the cache, sequences, streams."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from benchmarks.serving import running_server
from slipway.cli.main import main
from tests.kits.calls import tensors
from tests.kits.repositories import write_config
from tests.kits.traced_models import write_traced_models

VALUES = np.array([[1, 2.5]], np.float32)
ASKED = {"slipway_explain": True}
ROWS = """input { name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] }
output { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] }
"""
PAIRS = """backend: "identity"
max_batch_size: 4
dynamic_batching { preferred_batch_size: 2 max_queue_delay_microseconds: 30000000 }
"""
CACHED = 'backend: "identity"\nmax_batch_size: 4\nresponse_cache { enable: true }\n'
SEQUENCE = """backend: "identity"
max_batch_size: 4
sequence_batching { direct { }
  control_input { name: "START" control { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } } }
"""
PARAMETERS = """import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            given = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
            if given[0, 0] < 0:
                raise ValueError("negative")
            seen = np.array([[request.parameters().encode()]], np.object_)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("SEEN", seen)]))
        return responses
"""
PARAMETERS_CONFIG = """backend: "python"
max_batch_size: 4
input { name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] }
output { name: "SEEN" data_type: TYPE_STRING dims: [ 1 ] }
parameters { key: "EXECUTION_MODE" value { string_value: "thread" } }
parameters { key: "PRECISION" value { string_value: "bf16" } }
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    repository = tmp_path_factory.mktemp("models")
    write_traced_models(repository)
    for name, config in (("pairs", PAIRS), ("cached", CACHED), ("sequence", SEQUENCE)):
        write_config(repository, name, config + ROWS)
    (write_config(repository, "parameters", PARAMETERS_CONFIG) / "model.py").write_text(PARAMETERS)
    with running_server(repository, "--cache-config=local,size=1000000") as running:
        yield running


@pytest.fixture(scope="module", params=["http", "grpc"])
def protocol(request):
    return request.param


@pytest.fixture(scope="module")
def client(server, protocol):
    with open_client(server, protocol) as opened:
        yield opened


def open_client(server, protocol):
    if protocol == "http":
        return tritonclient.http.InferenceServerClient(server.http)
    return tritonclient.grpc.InferenceServerClient(server.grpc)


def ask(client, model: str, values: np.ndarray = VALUES, name: str = "INPUT0", **options):
    """Send one request and return the result."""
    module = tritonclient.http if isinstance(client, tritonclient.http.InferenceServerClient) else tritonclient.grpc
    return client.infer(model, tensors(module, {name: values}), **options)


def explanation(result) -> dict[str, object]:
    """Return the explanation in a result."""
    response = result.get_response()
    if isinstance(response, dict):
        return json.loads(response["parameters"]["slipway_explain"])
    return json.loads(response.parameters["slipway_explain"].string_param)


def post(server, path: str, document: object, **headers: str) -> tuple[int, bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(f"http://{server.http}{path}", json.dumps(document).encode(), named, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


JSON_REQUEST = {"inputs": [{"name": "INPUT0", "shape": [1, 2], "datatype": "FP32", "data": [1, 2.5]}]}


def test_two_requests_of_a_batch_say_that_they_shared_it(server, protocol):
    def one(rows: int) -> dict[str, object]:
        with open_client(server, protocol) as own:
            return explanation(ask(own, "pairs", np.repeat(VALUES, rows, axis=0), parameters=ASKED))

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(one, (1, 1))
    for explained in (first, second):
        assert (explained["model"], explained["rows"]) == ("pairs", 1)
        assert explained["batch"] == {"requests": 2, "rows": 2}
        assert explained["instance"]["name"] == "pairs_0"
        assert explained["compute_us"].keys() == {"input", "infer", "output"}
    waited = next(each for each in first["held_by"] + second["held_by"] if each["wait"] == "batch")
    assert waited["setting"] == "dynamic_batching.max_queue_delay_microseconds"
    assert waited["value"] == 30_000_000


def test_only_requests_that_ask_are_explained(client, protocol):
    for parameters in (None, {"slipway_explain": False}, {"other": "x"}):
        response = ask(client, "identity", parameters=parameters).get_response()
        assert "slipway_explain" not in (response.get("parameters", {}) if protocol == "http" else response.parameters)


def test_an_ensemble_has_its_steps(client):
    explained = explanation(ask(client, "chain", name="IN", parameters=ASKED))
    assert [step["model"] for step in explained["steps"]] == ["identity", "identity"]
    assert all(step["batch"] == {"requests": 1, "rows": 1} for step in explained["steps"])


def test_a_cached_response_is_a_hit_for_whoever_asks(client, protocol):
    values = np.array([[1 if protocol == "http" else 2, 7]], np.float32)
    assert explanation(ask(client, "cached", values, parameters=ASKED))["cache"] == "miss"
    hit = explanation(ask(client, "cached", values, parameters=ASKED))
    assert hit["cache"] == "hit"
    assert not {"batch", "instance", "compute_us"} & hit.keys()
    assert "slipway_explain" not in str(ask(client, "cached", values).get_response())


def test_a_sequence_is_explained_request_by_request(client, protocol):
    number = 1 if protocol == "http" else 2
    first = ask(client, "sequence", sequence_id=number, sequence_start=True, parameters=ASKED)
    last = ask(client, "sequence", sequence_id=number, sequence_end=True, parameters=ASKED)
    for result in (first, last):
        assert explanation(result)["batch"] == {"requests": 1, "rows": 1}
        assert explanation(result)["instance"]["name"] == "sequence_0"


def test_a_model_does_not_see_the_parameter_and_its_precision_is_named(client):
    result = ask(client, "parameters", parameters={**ASKED, "own": 7})
    assert json.loads(result.as_numpy("SEEN").item()) == {"own": 7}
    assert explanation(result)["engine"] == {"backend": "python", "precision": "bf16"}


def test_a_failure_has_its_usual_error(client):
    with pytest.raises(InferenceServerException) as plain:
        ask(client, "parameters", -VALUES)
    with pytest.raises(InferenceServerException) as explained:
        ask(client, "parameters", -VALUES, parameters=ASKED)
    assert "negative" in plain.value.message()
    assert explained.value.message() == plain.value.message()


@pytest.mark.parametrize("value", ["yes", 1])
def test_a_parameter_that_is_not_boolean_is_refused(client, value):
    with pytest.raises(InferenceServerException, match="slipway_explain"):
        ask(client, "identity", parameters={"slipway_explain": value})


@pytest.mark.parametrize("model", ["identity", "repeat"])
def test_a_stream_explains_by_parameter_or_by_its_metadata(server, model):
    name, values = ("INPUT0", VALUES) if model == "identity" else ("IN", VALUES[0])
    expected = 1 if model == "identity" else 2  # the first of several responses, and the final one
    for headers, parameters in (({}, ASKED), ({"slipway-explain": "true"}, None)):
        answers: list[object] = []
        with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
            client.start_stream(lambda result, error, into=answers: into.append(error or result), headers=headers)
            client.async_stream_infer(
                model, tensors(tritonclient.grpc, {name: values}), parameters=parameters,
                enable_empty_final_response=True,
            )  # fmt: skip
            client.stop_stream()
        found = [each for each in answers if "slipway_explain" in each.get_response().parameters]
        assert len(found) == expected
        assert found[-1] is answers[-1]
        assert ("compute_us" if model == "identity" else "executing_us") in explanation(found[0])
        assert explanation(found[0])["instance"]["name"] == f"{model}_0"


def test_json_with_the_parameter_anywhere_is_explained_each_time(server):
    path = "/v2/models/identity/infer"
    for document in ({"parameters": ASKED, **JSON_REQUEST}, {**JSON_REQUEST, "parameters": ASKED}):
        for _ in range(2):
            status, body = post(server, path, document)
            assert status == 200
            assert json.loads(json.loads(body)["parameters"]["slipway_explain"])["model"] == "identity"


@pytest.mark.parametrize("parameters", [ASKED, {**ASKED, "binary_data_output": True}])
@pytest.mark.parametrize("is_last", [False, True])
def test_binary_requests_that_repeat_are_explained_each_time(server, parameters, is_last):
    entry = {"name": "INPUT0", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
    inputs = {"inputs": [entry]}
    head = json.dumps({**inputs, "parameters": parameters} if is_last else {"parameters": parameters, **inputs})
    for _ in range(3):
        request = urllib.request.Request(
            f"http://{server.http}/v2/models/identity/infer", head.encode() + VALUES.tobytes(), method="POST"
        )
        request.add_header("Inference-Header-Content-Length", str(len(head)))
        with urllib.request.urlopen(request, timeout=20) as response:
            size = int(response.headers.get("Inference-Header-Content-Length", 0))
            body = response.read()
        assert "slipway_explain" in json.loads(body[: size or None])["parameters"]


def test_the_header_asks_too_and_has_to_say_whether(server):
    path = "/v2/models/identity/infer"
    assert b"slipway_explain" in post(server, path, JSON_REQUEST, slipway_explain="true")[1]
    assert b"slipway_explain" not in post(server, path, JSON_REQUEST, slipway_explain="false")[1]
    status, body = post(server, path, JSON_REQUEST, slipway_explain="perhaps")
    assert (status, json.loads(body)) == (
        400,
        {"error": "the header 'slipway-explain' should be 'true' or 'false', got 'perhaps'"},
    )
    assert post(server, path, JSON_REQUEST, slipway_explain="")[0] == 400


def test_generate_has_it_as_a_member(server):
    status, body = post(server, "/v2/models/sequence/generate", {"INPUT0": [1, 2], "sequence_id": 9, **ASKED})
    assert status == 400, body  # the sequence has not begun: the usual error, although it asks to be explained
    assert "slipway_explain" not in json.loads(body)
    status, body = post(server, "/v2/models/identity/generate", {"INPUT0": [1, 2], **ASKED})
    assert status == 200
    assert json.loads(json.loads(body)["slipway_explain"])["batch"] == {"requests": 1, "rows": 1}
    status, body = post(server, "/v2/models/identity/generate", {"INPUT0": [1, 2], "parameters": ASKED})
    assert "slipway_explain" in json.loads(body)


def test_a_generated_stream_ends_with_it(server):
    status, body = post(server, "/v2/models/repeat/generate_stream", {"IN": 1.0, **ASKED})
    events = [json.loads(line[5:]) for line in body.splitlines() if line.startswith(b"data:")]
    assert status == 200
    assert ["OUT" in event for event in events] == [True, True, True, False]
    assert ["slipway_explain" in event for event in events] == [True, False, False, True]
    _, body = post(server, "/v2/models/repeat/generate_stream", {"IN": 1.0})
    assert len([line for line in body.splitlines() if line.startswith(b"data:")]) == 3


def test_the_command_prints_a_table(server, protocol, capsys):
    connection = ["--protocol", protocol, "--url", getattr(server, protocol)]
    assert main(["infer", "chain", "--inputs", '{"IN": [[1]]}', "--explain", *connection]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "OUT [1x1] 1"
    assert lines[1].startswith("explained: model 'chain' version 1, 1 row, ")
    assert sum(line.strip().startswith("step ") for line in lines) == 2
    assert main(["infer", "repeat", "--inputs", '{"IN": [1]}', "--explain", "--json", *connection]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer.keys() for answer in answers] == [{"OUT"}] * 3 + [{"slipway_explain"}]
    assert answers[-1]["slipway_explain"]["model"] == "repeat"
