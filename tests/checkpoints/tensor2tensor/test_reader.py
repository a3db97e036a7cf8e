"""A tensor2tensor checkpoint computes what tensor2tensor computes: golden numbers, and float64 for every layout."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from slipway.checkpoints.tensor2tensor.bundle import open_bundle
from slipway.checkpoints.tensor2tensor.hparams import from_json
from slipway.checkpoints.tensor2tensor.reader import read_tensor2tensor
from slipway.errors import Code, SlipwayError
from slipway.transformer.engines import open_engine
from slipway.transformer.generation import Decoding, SequenceRequest, collect
from slipway.transformer.module.inputs import PackedSequences, TokenIds
from slipway.transformer.module.layer_builder import LayerBuilder
from slipway.transformer.module.network import Network
from slipway.transformer.module.packed_layout import PackedLayout
from slipway.transformer.options import EngineOptions
from tests.checkpoints.tensor2tensor.float64_reference import Reference
from tests.checkpoints.tensor2tensor.made_checkpoints import SMALL, VOCABULARY, random_arrays, save
from tests.checkpoints.tensor2tensor.public_data import CHECKPOINT, needs_public_files

HELLO = [4928, 4071, 220, 1]
CPU = torch.device("cpu")
POST_NORM = replace(SMALL, layer_preprocess_sequence="none", layer_postprocess_sequence="dan")
SEPARATE = replace(SMALL, shared_embedding_and_softmax_weights=False)
FAMILIES = {
    "pre-norm": (SMALL, None),
    "post-norm": (POST_NORM, None),
    "separate tables": (SEPARATE, None),
    "two vocabularies": (SEPARATE, 30),
    "one piece": (replace(SMALL, symbol_modality_num_shards=1), None),
    "more encoder layers": (replace(SMALL, num_encoder_layers=3, num_decoder_layers=1), None),
}


def public_hparams():
    return from_json((CHECKPOINT / "hparams.json").read_text())


def encoded(network, ids):
    sequences = PackedSequences(PackedLayout([len(ids)], CPU), TokenIds(torch.tensor(ids)))
    return network.encode(sequences), sequences


def step_scores(checkpoint, source, target):
    """Return the scores of every step, [len(target) + 1, vocabulary], from the project's network."""
    network = Network(checkpoint.spec, LayerBuilder(checkpoint.weights, device=CPU, dtype=torch.float32))
    with torch.inference_mode():
        state = network.begin(1, expected=len(target) + 1, encoded=encoded(network, source))
        tokens = [checkpoint.spec.start_id, *target]
        return np.stack([network.step(state, torch.tensor([token]))[0].numpy() for token in tokens])


@needs_public_files
@pytest.mark.capability("2.10")
def test_the_public_checkpoint_gives_the_golden_encoder_output_and_logits():
    checkpoint = read_tensor2tensor(CHECKPOINT, public_hparams(), 8190)
    network = Network(checkpoint.spec, LayerBuilder(checkpoint.weights, device=CPU, dtype=torch.float32))
    with torch.inference_mode():
        hidden = encoded(network, HELLO)[0].numpy()
    assert hidden[0, :4] == pytest.approx([0.103226, -1.967256, 1.825064, 1.515127], abs=1e-4)
    (first,) = step_scores(checkpoint, HELLO, [])
    assert first[:6] == pytest.approx([1.058246, 1.391081, -0.094394, 0.866728, -0.812492, 0.650296], abs=1e-4)
    assert first.argmax() == 6774
    assert first.max() == pytest.approx(3.475062, abs=1e-4)


@needs_public_files
@pytest.mark.capability("2.10")
def test_a_float64_computation_of_the_public_checkpoint_agrees():
    stored = {name: array.read() for name, array in open_bundle(CHECKPOINT / "model.ckpt-1").items()}
    reference = Reference(stored, heads=2)
    assert reference.encode(HELLO)[0, :4] == pytest.approx([0.103226, -1.967256, 1.825064, 1.515127], abs=1e-5)
    target = [6774, 0, 1366, 2765, 620, 1]
    scores = step_scores(read_tensor2tensor(CHECKPOINT, public_hparams(), 8190), HELLO, target)
    assert scores == pytest.approx(reference.logits(HELLO, target), abs=1e-4)


@needs_public_files
@pytest.mark.capability("2.10")
@pytest.mark.parametrize("engine_name", ["torch", "ctranslate2"])
def test_greedy_decoding_of_the_public_checkpoint_is_the_golden_one(engine_name, tmp_path):
    checkpoint = read_tensor2tensor(CHECKPOINT, public_hparams())
    options = EngineOptions(engine=engine_name, cache_directory=tmp_path)
    engine = open_engine(checkpoint.spec, checkpoint.weights, options, name="public")
    row = SequenceRequest(np.array(HELLO), Decoding(12, start_id=0, end_id=1))
    [[found]] = collect(engine, [row])
    engine.close()
    assert found.ids == (6774,) * 12
    assert found.log_probability == pytest.approx(-67.259933, abs=1e-4)


@pytest.mark.capability("2.10")
@pytest.mark.parametrize("family", FAMILIES)
def test_every_layout_computes_what_float64_computes(family, tmp_path):
    hparams, target_size = FAMILIES[family]
    arrays = random_arrays(hparams, target=target_size)
    checkpoint = read_tensor2tensor(save(tmp_path, arrays), hparams)
    reference = Reference(arrays, heads=2, pre_norm=hparams.pre_norm)
    source, target = [5, 17, 0, 33, 1], [9, 0, 4, 25, 1]  # with padding inside, which only the encoder masks
    scores = step_scores(checkpoint, source, target)
    assert scores == pytest.approx(reference.logits(source, target), abs=1e-4)
    assert scores.shape[1] == (target_size or VOCABULARY)
    assert scores.std() > 0.1


def test_without_a_target_space_nothing_is_added(tmp_path):
    hparams = replace(SMALL, use_target_space_embedding=False)
    arrays = random_arrays(hparams)
    checkpoint = read_tensor2tensor(save(tmp_path, arrays), hparams)
    arrays["transformer/body/target_space_embedding/kernel"] = np.zeros((32, 16))
    assert step_scores(checkpoint, [5, 1], [3]) == pytest.approx(
        Reference(arrays, heads=2).logits([5, 1], [3]), abs=1e-4
    )


def test_kernels_of_earlier_versions_which_are_convolutions_are_read(tmp_path):
    arrays = random_arrays()
    old = dict(arrays)
    for name in arrays:
        if name.endswith("kernel") and "target_space" not in name:
            old[name] = arrays[name][None, None]
    checkpoint = read_tensor2tensor(save(tmp_path, old), SMALL)
    assert step_scores(checkpoint, [5, 1], []) == pytest.approx(Reference(arrays, heads=2).logits([5, 1], []), abs=1e-4)


@needs_public_files
def test_what_belongs_to_training_is_named_as_ignored(caplog):
    with caplog.at_level(logging.INFO, "slipway.checkpoints"):
        checkpoint = read_tensor2tensor(CHECKPOINT, public_hparams())
    assert checkpoint.step == 1
    assert {"global_step", "training/beta1_power", "train_stats/problem_0_steps"} <= set(checkpoint.ignored)
    assert f"{len(checkpoint.ignored)} arrays of training are ignored: global_step" in caplog.text


def test_missing_unused_and_misshapen_arrays_are_all_named(tmp_path):
    arrays = random_arrays()
    del arrays["transformer/body/encoder/layer_0/ffn/conv1/bias"]
    arrays["transformer/body/encoder/layer_2/ffn/conv1/bias"] = np.zeros(24, np.float32)
    queries = "transformer/body/decoder/layer_1/self_attention/multihead_attention/q/kernel"
    arrays[queries] = np.zeros((16, 8), np.float32)
    with pytest.raises(SlipwayError) as caught:
        read_tensor2tensor(save(tmp_path, arrays), SMALL)
    assert caught.value.code is Code.INVALID_ARG
    lines = caught.value.message.splitlines()[1:]
    assert [line.strip() for line in lines] == [
        "missing: transformer/body/encoder/layer_0/ffn/conv1/bias [24]",
        f"{queries} has shape [16, 8], expected [16, 16]",
        "unused: transformer/body/encoder/layer_2/ffn/conv1/bias [24]",
    ]


def test_a_missing_piece_of_the_token_table_is_named(tmp_path):
    arrays = random_arrays()
    del arrays["transformer/symbol_modality_40_16/shared/weights_1"]
    with pytest.raises(SlipwayError, match=r"missing: transformer/symbol_modality_40_16/shared/weights_1 \[13, 16\]"):
        read_tensor2tensor(save(tmp_path, arrays), SMALL)


def test_another_vocabulary_is_refused(tmp_path):
    with pytest.raises(SlipwayError, match="has 40 tokens, but the vocabulary has 41: it belongs to another problem"):
        read_tensor2tensor(save(tmp_path, random_arrays()), SMALL, 41)


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    with pytest.raises(SlipwayError, match=r"does not have the token table .*input_emb"):
        read_tensor2tensor(save(tmp_path, {"resnet/conv/kernel": np.zeros((2, 2), np.float32)}), SMALL)


def test_two_shared_tables_are_refused_because_their_roles_are_not_stored(tmp_path):
    arrays = random_arrays() | {"transformer/symbol_modality_30_16/shared/weights_0": np.zeros((30, 16), np.float32)}
    with pytest.raises(SlipwayError, match="two token tables") as caught:
        read_tensor2tensor(save(tmp_path, arrays), SMALL)
    assert caught.value.code is Code.UNSUPPORTED


def test_integers_are_not_weights(tmp_path):
    name = "transformer/body/encoder/layer_0/ffn/conv1/bias"
    checkpoint = read_tensor2tensor(save(tmp_path, random_arrays() | {name: np.zeros(24, np.int32)}), SMALL)
    with pytest.raises(SlipwayError, match=f"array '{name}' holds int32, expected floating-point numbers"):
        checkpoint.weights["encoder.layers.0.feed_forward.up.bias"]


def test_networks_that_cannot_be_computed_are_refused_before_the_checkpoint_is_opened(tmp_path):
    with pytest.raises(SlipwayError, match="max_relative_position is 20, expected 0"):
        read_tensor2tensor(tmp_path / "none", replace(SMALL, max_relative_position=20))
