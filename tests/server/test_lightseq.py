"""LightSeq's own example: its repository layout, its three configs, its client, its limits."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from tests.kits.calls import infer, tensors
from tests.kits.servers import served

EXAMPLE = Path(__file__).parents[2] / "examples" / "lightseq"
MODELS = ("bert_example", "gpt_example", "transformer_example")
ROW = [324, 423, 5413, 1314, 1451, 4134, 946, 1467]
NUMBERS = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """The repository that the example's script creates."""
    repository = tmp_path_factory.mktemp("example") / "models"
    subprocess.run([sys.executable, EXAMPLE / "make_repository.py", repository], check=True, capture_output=True)
    return repository


@pytest.fixture(scope="module")
def ports():
    """Two free ports, for the flags."""
    with socket.socket() as first, socket.socket() as second:
        for each in (first, second):
            each.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


@pytest.fixture(scope="module")
def server(repository, ports):
    """The example's server, on ports set with tritonserver's flags."""
    with served(repository, f"--http-port={ports[0]}", f"--grpc-port={ports[1]}") as server:
        yield server


@pytest.fixture
def http(server):
    with tritonclient.http.InferenceServerClient(server.http, concurrency=16) as client:
        yield client


def ids(*rows):
    return np.array(rows, np.int32)


@pytest.mark.capability("1.1")
@pytest.mark.capability("1.2")
@pytest.mark.parametrize("name", MODELS)
def test_the_shipped_configs_load_with_their_files_beside_them(repository, http, name):
    assert not list((repository / name / "1").iterdir())
    assert list(repository.joinpath(name).glob("*.hdf5"))
    assert "KIND_GPU" in (repository / name / "config.pbtxt").read_text()
    assert http.is_model_ready(name)


@pytest.mark.capability("1.1")
def test_a_model_without_version_directory_is_a_clear_load_error(repository, tmp_path):
    shutil.copytree(repository / "gpt_example", tmp_path / "gpt_example")
    (tmp_path / "gpt_example" / "1").rmdir()
    with served(tmp_path, "--exit-on-error=false") as server:
        reason = "at least one version must be available under the version policy of model 'gpt_example'"
        assert reason in server.log
        with tritonclient.http.InferenceServerClient(server.http) as client:
            assert not client.is_model_ready("gpt_example")


@pytest.mark.capability("1.1")
def test_a_file_inside_the_version_directory_is_found_too(repository, tmp_path):
    shutil.copytree(repository / "gpt_example", tmp_path / "gpt_example")
    file = next((tmp_path / "gpt_example").glob("*.hdf5"))
    file.rename(tmp_path / "gpt_example" / "1" / file.name)
    with served(tmp_path) as server, tritonclient.http.InferenceServerClient(server.http) as client:
        assert client.is_model_ready("gpt_example")


@pytest.mark.capability("1.3")
def test_the_example_client_prints_ten_equal_answers(server, ports):
    client = [sys.executable, EXAMPLE / "transformer_client_example.py"]
    environment = os.environ | {"HTTP_PORT": str(ports[0])}
    printed = subprocess.run(client, check=True, capture_output=True, text=True, env=environment).stdout
    answers = printed.split("target_ids: ")[1:]
    assert len(answers) == 10
    assert len(set(answers)) == 1
    target_ids, target_scores = answers[0].split("target_scores: ")
    values = [int(value) for value in NUMBERS.findall(target_ids)]
    assert len(values) == 2 * 4 * 49  # rows, beams, columns
    assert values[: 4 * 49] == values[4 * 49 :]
    assert len(NUMBERS.findall(target_scores)) == 2 * 4


@pytest.mark.capability("1.3")
def test_target_ids_and_scores_have_lightseqs_shapes_over_both_transports(server, http):
    rows = {"source_ids": ids(ROW, ROW)}
    with tritonclient.grpc.InferenceServerClient(server.grpc) as grpc:
        for client in (http, grpc):
            target_ids = infer(client, "transformer_example", rows, "target_ids")
            scores = infer(client, "transformer_example", rows, "target_scores")
            assert (target_ids.dtype, target_ids.shape[:2]) == (np.int32, (2, 4))
            assert (scores.dtype, scores.shape) == (np.float32, (2, 4))
            assert (np.diff(scores) <= 0).all()  # best first
            assert (target_ids[:, :, -1] == 2).all()


@pytest.mark.capability("1.21")
def test_the_port_flags_are_honoured(server, ports):
    assert [server.http, server.grpc] == [f"127.0.0.1:{port}" for port in ports]
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{ports[1]}") as client:
        assert client.is_server_ready()


@pytest.mark.capability("1.18")
def test_metadata_and_config_tell_the_real_outputs(server, http):
    output = {"name": "encoder_output", "datatype": "FP32", "shape": [-1, -1, -1]}
    assert http.get_model_metadata("bert_example")["outputs"] == [output]
    assert http.get_model_config("bert_example")["output"][0]["data_type"] == "TYPE_FP32"
    states = infer(http, "bert_example", {"token_ids": ids(ROW)}, "encoder_output")
    assert (states.dtype, states.shape) == (np.float32, (1, 8, 48))
    shapes = {one["name"]: one["shape"] for one in http.get_model_metadata("transformer_example")["outputs"]}
    assert shapes == {"target_ids": [-1, -1, -1], "target_scores": [-1, -1]}
    assert "'encoder_output' is declared as TYPE_INT32 [-1] but is TYPE_FP32 [-1, -1]; corrected" in server.log


def test_a_gpu_is_asked_for_and_the_cpu_taken_with_a_warning(server):
    assert "instance group 'bert_example_0' requests a GPU; it runs on the CPU" in server.log


@pytest.mark.capability("1.16")
def test_a_batch_of_nine_is_refused(http):
    with pytest.raises(InferenceServerException, match="batch-size must be <= 8") as refused:
        infer(http, "transformer_example", {"source_ids": ids(*[ROW] * 9)}, "target_ids")
    assert refused.value.status() == "400"


@pytest.mark.capability("1.16")
@pytest.mark.parametrize(
    ("model", "name", "output", "limit"),
    [
        ("transformer_example", "source_ids", "target_ids", 50),
        ("bert_example", "token_ids", "encoder_output", 64),
        ("gpt_example", "token_ids", "result", 50),
    ],
)
def test_a_row_longer_than_max_step_is_refused(http, model, name, output, limit):
    assert len(infer(http, model, {name: ids([7] * limit)}, output)) == 1
    with pytest.raises(InferenceServerException, match="seq len of input greater than max_step") as refused:
        infer(http, model, {name: ids([7] * (limit + 1))}, output)
    assert refused.value.status() == "400"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([[6000, 3]], "outside the vocabulary of 6000: 6000"),
        ([[-1, 3]], "outside the vocabulary"),
        ([[]], "at least one token"),
        ([[7, 8], [1, 1]], "row 1 has fewer"),
    ],
)
def test_a_request_that_the_model_cannot_take_is_refused_alone(http, rows, words):
    good = http.async_infer("transformer_example", tensors(tritonclient.http, {"source_ids": ids(ROW)}))
    with pytest.raises(InferenceServerException, match=words) as refused:
        infer(http, "transformer_example", {"source_ids": ids(*rows)}, "target_ids")
    assert refused.value.status() == "400"
    assert good.get_result().as_numpy("target_ids").shape[:2] == (1, 4)


def test_requests_of_several_lengths_run_together(http):
    def executions():
        return int(http.get_inference_statistics("transformer_example")["model_stats"][0].get("execution_count", 0))

    generator = np.random.default_rng(0)
    sources = [generator.integers(3, 6000, (1, length)).astype(np.int32) for length in (3, 30, 7, 7, 12, 50, 1, 9)]
    alone = [infer(http, "transformer_example", {"source_ids": row}, "target_ids") for row in sources]
    before = executions()
    calls = [
        http.async_infer("transformer_example", tensors(tritonclient.http, {"source_ids": row})) for row in sources
    ]
    answers = [call.get_result().as_numpy("target_ids") for call in calls]
    assert [answer.tolist() for answer in answers] == [answer.tolist() for answer in alone]
    assert executions() - before < len(sources)


def test_only_the_output_that_is_asked_for_is_sent(http):
    wanted = [tritonclient.http.InferRequestedOutput("target_scores")]
    inputs = tensors(tritonclient.http, {"source_ids": ids(ROW)})
    result = http.infer("transformer_example", inputs, outputs=wanted)
    assert result.as_numpy("target_ids") is None
    assert result.as_numpy("target_scores").shape == (1, 4)
