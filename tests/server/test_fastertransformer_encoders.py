"""FasterTransformer's T5 encoder and BERT on their own: hidden states equal those of transformers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from benchmarks.serving import RunningServer
from tests.kits.calls import tensors
from tests.kits.fastertransformer_models import add_model, tiny_bert, tiny_t5, write_checkpoint
from tests.kits.servers import served

IDS = np.array([[5, 17, 33, 8, 1], [9, 40, 1, 0, 0]], np.uint32)
LENGTHS = np.array([[5], [3]], np.uint32)
SHIPPED = """max_batch_size: 1024
input [
  { name: "input_ids" data_type: TYPE_UINT32 dims: [ -1 ] },
  { name: "sequence_length" data_type: TYPE_UINT32 dims: [ 1 ] reshape: { shape: [ ] } },
  { name: "is_return_attentions" data_type: TYPE_BOOL dims: [ 1 ] reshape: { shape: [ ] } optional: true }
]
output [
  { name: "output_hidden_state" data_type: TYPE_FP32 dims: [ -1, -1 ] },
  { name: "output_attentions" data_type: TYPE_FP32 dims: [ -1, -1, -1, -1 ] }
]
"""


@dataclass
class Models:
    server: RunningServer
    t5: Any


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    root = tmp_path_factory.mktemp("encoders")
    repository, t5 = root / "models", tiny_t5()
    write_checkpoint(t5, root / "whole", root / "hf", ways=2)
    for data_type in ("fp32", "fp16", "bf16"):
        path = str(root / "whole")
        add_model(
            repository, f"encoder_{data_type}", "T5-Encoder", SHIPPED, data_type=data_type, model_checkpoint_path=path
        )
    write_checkpoint(t5, add_model(repository, "filled", "T5-Encoder"), root / "hf", encoder_only=True)
    with served(repository) as running:
        yield Models(running, t5)


@pytest.fixture
def client(models: Models) -> Iterator[tritonclient.grpc.InferenceServerClient]:
    with tritonclient.grpc.InferenceServerClient(models.server.grpc) as made:
        yield made


def encoded(models: Models, **options: Any) -> Any:
    import torch

    mask = torch.arange(5)[None] < torch.from_numpy(LENGTHS.astype(np.int64))
    with torch.no_grad():
        return models.t5.encoder(torch.from_numpy(IDS.astype(np.int64)), attention_mask=mask, **options)


@pytest.mark.capability("0.17")
@pytest.mark.parametrize("model", ["encoder_fp32", "filled"])
def test_hidden_states_are_those_of_transformers(models, client, model):
    arrays = {"input_ids": IDS, "sequence_length": LENGTHS}
    got = client.infer(model, tensors(tritonclient.grpc, arrays)).as_numpy("output_hidden_state")
    expected = encoded(models).last_hidden_state.numpy()
    for row, length in enumerate(LENGTHS[:, 0]):
        np.testing.assert_allclose(got[row, :length], expected[row, :length], atol=1e-4)
        assert not got[row, length:].any()


@pytest.mark.capability("0.17")
def test_attentions_are_those_of_transformers(models, client):
    arrays = {"input_ids": IDS, "sequence_length": LENGTHS, "is_return_attentions": np.ones((2, 1), np.bool_)}
    got = client.infer("encoder_fp32", tensors(tritonclient.grpc, arrays)).as_numpy("output_attentions")
    models.t5.set_attn_implementation("eager")
    expected = np.stack([each.numpy() for each in encoded(models, output_attentions=True).attentions], axis=1)
    assert got.shape == (2, 2, 4, 5, 5)
    for row, length in enumerate(LENGTHS[:, 0]):
        part = (row, slice(None), slice(None), slice(length), slice(length))
        np.testing.assert_allclose(got[part], expected[part], atol=1e-4)


@pytest.mark.capability("0.17")
@pytest.mark.parametrize(("data_type", "name"), [("fp32", "FP32"), ("fp16", "FP16"), ("bf16", "BF16")])
def test_the_metadata_follow_data_type(models, data_type, name):
    with tritonclient.http.InferenceServerClient(models.server.http) as http:
        outputs = http.get_model_metadata(f"encoder_{data_type}")["outputs"]
        arrays = {"input_ids": IDS, "sequence_length": LENGTHS}
        result = http.infer(f"encoder_{data_type}", tensors(tritonclient.http, arrays))
    assert {each["name"]: each["datatype"] for each in outputs} == dict.fromkeys(
        ("output_hidden_state", "output_attentions"), name
    )
    answered = result.get_response()["outputs"]
    assert [(each["name"], each["datatype"]) for each in answered] == [("output_hidden_state", name)]
    expected = encoded(models).last_hidden_state[0].numpy()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(result.as_numpy("output_hidden_state")[0] / scale, expected / scale, atol=0.01)


def test_bert_goes_on_from_embedded_tokens(tmp_path):
    import torch

    bert, repository = tiny_bert(), tmp_path / "models"
    write_checkpoint(bert, add_model(repository, "bert", "bert", data_type="fp32"), tmp_path / "hf", ways=2)
    hidden = np.random.default_rng(0).normal(size=(2, 5, 32)).astype(np.float32)
    lengths = LENGTHS.astype(np.int32)
    wrong = {"input_hidden_state": hidden[:, :, :5], "sequence_lengths": lengths}
    with served(repository) as running, tritonclient.grpc.InferenceServerClient(running.grpc) as client:
        arrays = {"input_hidden_state": hidden, "sequence_lengths": lengths}
        got = client.infer("bert", tensors(tritonclient.grpc, arrays)).as_numpy("output_hidden_state")
        with pytest.raises(InferenceServerException, match="the model's hidden size is 32"):
            client.infer("bert", tensors(tritonclient.grpc, wrong))
    for row, length in enumerate(lengths[:, 0]):
        with torch.no_grad():
            expected = bert.encoder(torch.from_numpy(hidden[row : row + 1, :length])).last_hidden_state[0]
        np.testing.assert_allclose(got[row, :length], expected.numpy(), atol=1e-4)
