"""A decoder-only checkpoint computes the same as in transformers: every family, on the torch engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slipway.checkpoints.huggingface.reader import HuggingFaceCheckpoint, read_huggingface
from slipway.transformer.generation import Decoding, SequenceRequest, collect
from slipway.transformer.module.layer_builder import LayerBuilder
from slipway.transformer.module.network import Network
from slipway.transformer.torch_engine.engine import TorchEngine
from slipway.transformer.torch_engine.input_builder import InputBuilder
from tests.kits.decoder_models import DECODERS, VOCABULARY, save_decoder

LENGTHS = (60, 1, 17, 6)  # windows are 8 tokens wide
NEW = 64
LONG = 140  # beyond the length that some models were first trained with


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def rows(lengths: tuple[int, ...] = LENGTHS) -> list[np.ndarray]:
    random = np.random.default_rng(5)
    return [random.integers(3, VOCABULARY, length) for length in lengths]


def scores(checkpoint: HuggingFaceCheckpoint, prompts: list[np.ndarray]) -> list[np.ndarray]:
    """Return the scores after every token of the prompts, computed together, [tokens, vocabulary] each."""
    builder = LayerBuilder(checkpoint.weights, device=torch.device("cpu"), dtype=torch.float32)
    network = Network(checkpoint.spec, builder)
    sequences = InputBuilder(network).outer([SequenceRequest(ids) for ids in prompts])
    found = network.scores(network.encode(sequences))
    return [part.numpy() for part in torch.split(found, sequences.layout.lengths)]


def wanted(model: Any, ids: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        found: np.ndarray = model(torch.from_numpy(ids)[None], use_cache=False).logits[0].numpy()
    return found


@pytest.mark.parametrize("name", DECODERS)
def test_scores_and_greedy_ids_are_those_of_transformers_at_several_lengths_at_once(name, tmp_path):
    model, prompts = save_decoder(name, tmp_path), rows()
    checkpoint = read_huggingface(tmp_path)
    expected = [wanted(model, ids) for ids in prompts]
    for found, right in zip(scores(checkpoint, prompts), expected, strict=True):
        np.testing.assert_allclose(found, right, atol=1e-4)
    assert np.std(expected[0]) > 0.3  # so that the comparison says something
    engine = TorchEngine.open(checkpoint.spec, checkpoint.weights, threads=1)
    requests = [SequenceRequest(ids, Decoding(NEW, end_id=-1)) for ids in prompts]
    generated = [hypotheses[0].ids for hypotheses in collect(engine, requests)]
    engine.close()
    for ids, new in zip(prompts, generated, strict=True):
        best = wanted(model, np.array([*ids, *new[:-1]]))[len(ids) - 1 :].argmax(-1)
        assert list(new) == best.tolist()
        assert len(new) == NEW


@pytest.mark.parametrize(
    ("name", "changes"), [("phi3-longrope", {}), ("llama-dynamic", {"max_position_embeddings": 48})]
)
def test_scores_of_a_prompt_beyond_the_original_length_are_those_of_transformers(
    name: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    model, prompts = save_decoder(name, tmp_path, **changes), rows((LONG, 9))
    for found, ids in zip(scores(read_huggingface(tmp_path), prompts), prompts, strict=True):
        np.testing.assert_allclose(found, wanted(model, ids), atol=1e-4)
