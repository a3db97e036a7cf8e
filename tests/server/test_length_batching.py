"""Batching by length on a real server: a masked mean over texts of many lengths, requested by many clients at once."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
from tritonclient.utils import InferenceServerException

from benchmarks.serving import RunningServer, running_server
from tests.kits.calls import tensors
from tests.kits.repositories import add_identity, write_config

CLIENTS = 16
KEYS = {
    "PAD_VALUES": "ids=-1 mask=0",
    "TRIM_OUTPUTS": "kept.0=ids.0",
    "MAX_PADDING_SHARE": "0.2",
    "MAX_TOKENS": "400",
}
CONFIG = """backend: "onnxruntime"
max_batch_size: 8
input [ { name: "ids" data_type: TYPE_INT64 dims: [ -1 ] }, { name: "mask" data_type: TYPE_INT64 dims: [ -1 ] } ]
output [ { name: "mean" data_type: TYPE_FP32 dims: [ 1 ] }, { name: "kept" data_type: TYPE_INT64 dims: [ -1 ] } ]
dynamic_batching { max_queue_delay_microseconds: 10000 }
"""


def add_masked_mean(repository: Path) -> None:
    """Add an ONNX model that returns the mean of each row's unmasked ids, and these ids."""
    from onnx import TensorProto, checker, helper, save

    keys = "".join(
        f'parameters {{ key: "LENGTH_BATCHING_{key}" value {{ string_value: "{value}" }} }}\n'
        for key, value in KEYS.items()
    )
    version = write_config(repository, "mean", CONFIG + keys)
    nodes = [
        helper.make_node("Mul", ["ids", "mask"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "axes"], ["total"], keepdims=1),
        helper.make_node("ReduceSum", ["mask", "axes"], ["count"], keepdims=1),
        helper.make_node("Cast", ["total"], ["total_float"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["count"], ["count_float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["total_float", "count_float"], ["mean"]),
    ]
    tokens = ["rows", "tokens"]
    graph = helper.make_graph(
        nodes,
        "masked_mean",
        [helper.make_tensor_value_info(name, TensorProto.INT64, tokens) for name in ("ids", "mask")],
        [
            helper.make_tensor_value_info("mean", TensorProto.FLOAT, ["rows", 1]),
            helper.make_tensor_value_info("kept", TensorProto.INT64, tokens),
        ],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    save(model, version / "model.onnx")


def text(length: int, rows: int = 1) -> dict[str, np.ndarray]:
    ids = np.random.default_rng(length).integers(1, 1000, (rows, length), dtype=np.int64)
    mask = np.ones_like(ids)
    mask[0, length // 2 + 1 :] = 0  # a client may pad too
    return {"ids": ids, "mask": mask}


TEXTS = [text(length, 1 + length % 7 // 6) for length in (*range(3, 60, 2), 120, 250, 390)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    repository = tmp_path_factory.mktemp("lengths")
    add_masked_mean(repository)
    add_identity(repository)
    with running_server(repository, "--model-control-mode=explicit", "--load-model=*") as running:
        yield running


def asked_at_once(address: str) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """Let every client request all texts, each beginning with another one; return the responses in the texts' order."""

    async def client(number: int) -> list[tuple[np.ndarray, np.ndarray]]:
        answers = {}
        async with tritonclient.grpc.aio.InferenceServerClient(address) as connection:
            for place in itertools.islice(itertools.cycle(range(len(TEXTS))), number, number + len(TEXTS)):
                result = await connection.infer("mean", tensors(tritonclient.grpc, TEXTS[place]))
                answers[place] = (result.as_numpy("mean"), result.as_numpy("kept"))
        return [answers[place] for place in range(len(TEXTS))]

    async def clients() -> list[list[tuple[np.ndarray, np.ndarray]]]:
        return await asyncio.gather(*(client(number) for number in range(CLIENTS)))

    return asyncio.run(clients())


def metrics(address: str) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{address}/metrics") as response:
        lines = re.findall(
            r'^(slipway_\w+)\{model="(\w+)",version="1"\} (\d+)$', response.read().decode(), re.MULTILINE
        )
    assert {model for _, model, _ in lines} == {"mean"}
    return {name: int(value) for name, _, value in lines}


def test_mixed_lengths_at_once_are_answered_as_each_alone_in_fewer_executions(server):
    with tritonclient.http.InferenceServerClient(server.http) as client:
        alone = [client.infer("mean", tensors(tritonclient.http, each)) for each in TEXTS]
        before = client.get_inference_statistics("mean")["model_stats"][0]
        counted = metrics(server.metrics)
        assert counted["slipway_inference_padding_count"] == 0
        for answers in asked_at_once(server.grpc):
            for (mean, kept), single in zip(answers, alone, strict=True):
                assert np.array_equal(mean, single.as_numpy("mean"))
                assert np.array_equal(kept, single.as_numpy("kept"))
        after = client.get_inference_statistics("mean")["model_stats"][0]
    executions = after["execution_count"] - before["execution_count"]
    assert executions < CLIENTS * len(TEXTS)
    found = metrics(server.metrics)
    tokens = sum(each["ids"].size for each in TEXTS)
    assert found["slipway_inference_token_count"] == (CLIENTS + 1) * tokens
    assert 0 < found["slipway_inference_padding_count"] <= 0.25 * CLIENTS * tokens  # a fifth of all: a quarter of these
    assert found["slipway_batch_size_count"] == after["execution_count"]
    assert found["slipway_batch_size_sum"] == after["inference_count"]


def test_a_mistake_in_the_keys_refuses_the_load_and_leaves_what_served(server):
    with tritonclient.http.InferenceServerClient(server.http) as client:
        config = client.get_model_config("mean")
        config["parameters"]["LENGTH_BATCHING_PAD_VALUES"]["string_value"] = "ids=0"
        with pytest.raises(
            InferenceServerException, match="it must name every input with variable dims and lacks 'mask'"
        ):
            client.load_model("mean", config=json.dumps(config))
        del config["dynamic_batching"]
        with pytest.raises(InferenceServerException, match=r"batching by length needs dynamic_batching \{ \}"):
            client.load_model("mean", config=json.dumps(config))
        result = client.infer("mean", tensors(tritonclient.http, TEXTS[0]))
        assert result.as_numpy("kept").shape == TEXTS[0]["ids"].shape
