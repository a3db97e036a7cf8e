"""Requests of different lengths to a model with ragged inputs share executions, and each gets its own answer."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from benchmarks.serving import RunningServer, running_server
from tests.kits import onnx_graphs as graphs
from tests.kits.calls import infer

TOGETHER = 12  # requests, of one row each
INPUT = """max_batch_size: 16
input [ { name: "x" data_type: TYPE_FP32 dims: [ -1 ] allow_ragged_batch: true } ]
"""
SUMS = f"""backend: "onnxruntime"
{INPUT}output [ {{ name: "sum" data_type: TYPE_FP32 dims: [ 1 ] }} ]
batch_input [ {{ kind: BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO target_name: "bounds" data_type: TYPE_INT32
source_input: "x" }} ]
dynamic_batching {{ preferred_batch_size: [ {TOGETHER} ] max_queue_delay_microseconds: 60000000 }}
"""
BROKEN = SUMS.replace("TYPE_INT32", "TYPE_FP32")


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[RunningServer]:
    repository = tmp_path_factory.mktemp("models")
    for name, config in (("sums", SUMS), ("broken", BROKEN)):
        directory = repository / name
        directory.mkdir()
        (directory / "config.pbtxt").write_text(config)
        graphs.ragged_sums(directory)
    with running_server(repository, "--exit-on-error=false") as running:
        yield running


@pytest.mark.parametrize("module", [tritonclient.http, tritonclient.grpc])
def test_requests_of_all_lengths_share_executions(server, module):
    url = server.http if module is tritonclient.http else server.grpc
    random = np.random.default_rng(0)
    given = [random.integers(-9, 9, (1, length)).astype(np.float32) for length in range(1, 61)]

    def ask(array):
        with module.InferenceServerClient(url) as client:
            return infer(client, "sums", {"x": array}, "sum").item()

    before = executions(server)
    with ThreadPoolExecutor(TOGETHER) as threads:
        assert list(threads.map(ask, given)) == [array.sum() for array in given]
    assert executions(server) - before == len(given) // TOGETHER


def executions(server):
    with urllib.request.urlopen(f"http://{server.http}/v2/models/sums/stats") as response:
        return json.loads(response.read())["model_stats"][0]["execution_count"]


def test_a_batch_input_of_another_type_than_the_graphs_fails_the_load(server):
    assert (
        "unable to load model 'broken', configuration expects datatype TYPE_FP32 for batch input 'bounds', model "
        "provides TYPE_INT32"
    ) in server.log
