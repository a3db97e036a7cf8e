"""The network that trains computes what the network that serves computes, from the same stored arrays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from slipway.checkpoints.tensor2tensor.hparams import from_json
from slipway.checkpoints.tensor2tensor.layout import token_tables
from slipway.checkpoints.tensor2tensor.reader import open_stored, read_tensor2tensor
from slipway.checkpoints.tensor2tensor.training_checkpoint import point_to, save_weights
from slipway.train.network.network import TrainingNetwork
from slipway.train.network.parameters import initial_parameters, stored_parameters, to_stored
from slipway.transformer.module.inputs import PackedSequences, TokenIds
from slipway.transformer.module.layer_builder import LayerBuilder
from slipway.transformer.module.network import Network as ServingNetwork
from slipway.transformer.module.packed_layout import PackedLayout
from tests.checkpoints.tensor2tensor.made_checkpoints import SMALL, VOCABULARY, random_arrays, save
from tests.checkpoints.tensor2tensor.public_data import CHECKPOINT, needs_public_files

SOURCE, TARGET = [5, 17, 33, 9, 1], [9, 4, 25, 1]
FAMILIES = {
    "pre-norm": SMALL,
    "post-norm": replace(SMALL, layer_preprocess_sequence="none", layer_postprocess_sequence="dan"),
    "separate tables": replace(SMALL, shared_embedding_and_softmax_weights=False),
    "one piece": replace(SMALL, symbol_modality_num_shards=1),
    "no target space": replace(SMALL, use_target_space_embedding=False),
    "more encoder layers": replace(SMALL, num_encoder_layers=3, num_decoder_layers=1),
}


def served(checkpoint):
    """Return the encoder's output and the scores of every step of the network that serves."""
    device = torch.device("cpu")
    network = ServingNetwork(checkpoint.spec, LayerBuilder(checkpoint.weights, device=device, dtype=torch.float32))
    sequences = PackedSequences(PackedLayout([len(SOURCE)], device), TokenIds(torch.tensor(SOURCE)))
    with torch.inference_mode():
        hidden = network.encode(sequences)
        state = network.begin(1, expected=len(TARGET), encoded=(hidden, sequences))
        return hidden, torch.cat([network.step(state, torch.tensor([token])) for token in [0, *TARGET[:-1]]])


def trained(network, padding):
    """Return the same from the network that trains, whose rows are padded."""
    inputs, targets = (torch.tensor([ids + [0] * padding, [3, 1] + [0] * (len(ids) + padding - 2)])
                       for ids in (SOURCE, TARGET))  # fmt: skip
    network.eval()
    with torch.no_grad():
        memory, bias = network.encode(inputs)
        scores = network.logits(network.decode(targets, memory, bias))
    return memory[0, : len(SOURCE)], scores[0, : len(TARGET)]


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_encoder_output_and_scores_are_those_of_the_serving_network(family, padding, tmp_path):
    hparams = FAMILIES[family]
    arrays = random_arrays(hparams)
    if not hparams.use_target_space_embedding:
        arrays.pop("transformer/body/target_space_embedding/kernel", None)
    prefix = save(tmp_path, arrays)
    network = TrainingNetwork(hparams, VOCABULARY, stored_parameters(prefix, hparams, VOCABULARY))
    for ours, theirs in zip(trained(network, padding), served(read_tensor2tensor(prefix, hparams)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@needs_public_files
def test_public_checkpoint_gives_the_golden_numbers():
    hparams = from_json((CHECKPOINT / "hparams.json").read_text())
    network = TrainingNetwork(hparams, 8190, stored_parameters(CHECKPOINT, hparams, 8190)).eval()
    ids = torch.tensor([[4928, 4071, 220, 1]])
    with torch.no_grad():
        memory, bias = network.encode(ids)
        scores = network.logits(network.decode(torch.tensor([[6774]]), memory, bias))[0, 0]
    assert memory[0, 0, :4].tolist() == pytest.approx([0.103226, -1.967256, 1.825064, 1.515127], abs=1e-4)
    assert scores[:3].tolist() == pytest.approx([1.058246, 1.391081, -0.094394], abs=1e-4)
    assert scores.argmax() == 6774


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_parameters_are_read_back_unchanged(family, tmp_path):
    hparams = FAMILIES[family]
    values = initial_parameters(hparams, VOCABULARY, seed=1)
    stored = to_stored({name: value.numpy() for name, value in values.items()}, hparams, VOCABULARY)
    save_weights(tmp_path, 7, stored)
    point_to(tmp_path, 7)
    pieces = token_tables(hparams, VOCABULARY).source.shapes(hparams.hidden_size)
    assert len(pieces) == hparams.symbol_modality_num_shards
    assert pieces.keys() <= open_stored(tmp_path).arrays.keys()
    read = stored_parameters(tmp_path, hparams, VOCABULARY)
    assert read.keys() == values.keys()
    for name, value in values.items():
        np.testing.assert_array_equal(read[name].numpy(), value.numpy())
