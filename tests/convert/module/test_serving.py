"""The repository that `slipway convert-module` writes, in a real server."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
from tritonclient.utils import InferenceServerException

from benchmarks.serving import running_server
from slipway.cli.main import main
from tests.convert.module.model import IO_CONFIG, answer, command, examples, write_model
from tests.kits.calls import infer, tensors

# Slow enough on any machine for 32 requests that come together to wait for each other.
SLOW = """
import torch


class DebertaLargeModel(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = torch.nn.Linear(2048, 2048)
        self.head = torch.nn.Linear(2048, 1)

    def forward(self, ids, mask, types):
        hidden = mask.repeat(1, 16)
        for _ in range(24):
            hidden = torch.tanh(self.dense(hidden))
        return self.head(hidden) + ids.sum(1, keepdim=True).to(torch.float32) / 1e6
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A repository with `deberta_large_onnx`, its alias `deberta_large`, a slow model; PyTorch models by name."""
    directory = tmp_path_factory.mktemp("serving")
    quick = write_model(directory / "quick")
    slow = write_model(directory / "slow", script=SLOW)
    shared = {"triton_repo": directory / "repo", "dynamic_batching": True, "triton_inputs": "input_ids,input_mask"}
    named = command(directory / "quick", model_name="deberta_large", serve_name="deberta_large", **shared)
    assert main(["convert-module", *named]) == 0
    words = command(directory / "slow", model_name="slow", model_io_config=IO_CONFIG, **shared)
    assert main(["convert-module", *words, "--max-queue-delay", "20000"]) == 0
    return directory / "repo", quick, slow


@pytest.fixture(scope="module")
def server(models):
    with running_server(models[0]) as running:
        yield running


@pytest.fixture
def client(server):
    with tritonclient.grpc.InferenceServerClient(server.grpc) as connection:
        yield connection


@pytest.mark.capability("3.4")
def test_the_server_is_ready_and_answers_every_batch_as_pytorch_does(client, models):
    assert client.is_server_ready()
    assert client.is_model_ready("deberta_large_onnx")
    for rows in range(1, 9):
        inputs = examples(rows)
        found = infer(client, "deberta_large_onnx", inputs, "output")
        np.testing.assert_allclose(found, answer(models[1], inputs), atol=1e-4)


@pytest.mark.capability("3.5")
def test_the_batch_axis_varies_up_to_the_maximum_and_no_further(client):
    for rows in (1, 3, 8):
        assert infer(client, "deberta_large_onnx", examples(rows), "output").shape == (rows, 1)
    with pytest.raises(InferenceServerException, match="batch-size must be <= 8"):
        infer(client, "deberta_large_onnx", examples(9), "output")


@pytest.mark.capability("3.6")
def test_singles_that_come_together_share_executions(server, client, models):
    inputs = examples(1)

    async def ask_together() -> list[np.ndarray]:
        async with tritonclient.grpc.aio.InferenceServerClient(server.grpc) as connection:
            sent = [connection.infer("slow_onnx", tensors(tritonclient.grpc, inputs)) for _ in range(32)]
            return [result.as_numpy("output") for result in await asyncio.gather(*sent)]

    found = asyncio.run(ask_together())
    expected = answer(models[2], inputs)
    for each in found:
        np.testing.assert_allclose(each, expected, atol=1e-4)
    (statistics,) = client.get_inference_statistics("slow_onnx").model_stats
    assert statistics.inference_count == 32
    assert statistics.execution_count < 32


@pytest.mark.capability("3.12")
def test_clients_reach_the_model_by_its_alias(client, models):
    inputs = examples(3)
    expected = answer(models[1], inputs)
    np.testing.assert_allclose(infer(client, "deberta_large", inputs, "output"), expected, atol=1e-4)
