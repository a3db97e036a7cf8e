"""A Hugging Face directory becomes the specification and arrays it describes, or one error that says all."""

from __future__ import annotations

import json
import struct
from math import sqrt
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from slipway.checkpoints.huggingface.reader import read_huggingface
from slipway.checkpoints.huggingface.safetensors_file import open_safetensors, write_safetensors
from slipway.errors import Code, SlipwayError
from slipway.transformer.spec import Activation
from slipway.transformer.weights import Array, expected_shapes
from tests.kits.huggingface_models import FAMILIES, save_model


def refusal(directory: Path) -> str:
    with pytest.raises(SlipwayError) as caught:
        read_huggingface(directory)
    assert caught.value.code in (Code.INVALID_ARG, Code.UNSUPPORTED)
    return caught.value.message


def edit_config(directory: Path, **changes: object) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_arrays(directory: Path, change) -> None:
    arrays = load_file(directory / "model.safetensors")
    change(arrays)
    save_file(arrays, directory / "model.safetensors")


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_gives_exactly_the_arrays_of_its_specification(family, tmp_path):
    save_model(family, tmp_path)
    checkpoint = read_huggingface(tmp_path)
    assert checkpoint.weights.shapes == expected_shapes(checkpoint.spec)
    for name, shape in checkpoint.weights.shapes.items():
        assert checkpoint.weights[name].shape == shape


def test_arrays_hold_the_numbers_that_transformers_wrote(tmp_path):
    state = save_model("t5", tmp_path).state_dict()
    weights = read_huggingface(tmp_path).weights
    pairs = {
        "encoder.embedding.tokens": "shared.weight",
        "encoder.layers.1.self_attention.key.weight": "encoder.block.1.layer.0.SelfAttention.k.weight",
        "decoder.layers.2.cross_attention.output.weight": "decoder.block.2.layer.1.EncDecAttention.o.weight",
        "decoder.layers.0.feed_forward.down.weight": "decoder.block.0.layer.2.DenseReluDense.wo.weight",
        "decoder.final_norm.scale": "decoder.final_layer_norm.weight",
    }
    for name, stored in pairs.items():
        np.testing.assert_array_equal(weights[name], state[stored].numpy())


def test_the_fused_projection_of_gpt2_is_cut_and_transposed(tmp_path):
    state = save_model("gpt2", tmp_path).state_dict()
    weights = read_huggingface(tmp_path).weights
    fused, bias = (state[f"transformer.h.1.attn.c_attn.{part}"].numpy() for part in ("weight", "bias"))
    for index, part in enumerate(("query", "key", "value")):
        where = slice(16 * index, 16 * (index + 1))
        np.testing.assert_array_equal(weights[f"decoder.layers.1.self_attention.{part}.weight"], fused[:, where].T)
        np.testing.assert_array_equal(weights[f"decoder.layers.1.self_attention.{part}.bias"], bias[where])
    up = state["transformer.h.0.mlp.c_fc.weight"].numpy()
    np.testing.assert_array_equal(weights["decoder.layers.0.feed_forward.up.weight"], up.T)


def test_the_two_position_rows_that_bart_keeps_for_itself_are_cut_off(tmp_path):
    state = save_model("bart", tmp_path).state_dict()
    weights = read_huggingface(tmp_path).weights
    stored = state["model.decoder.embed_positions.weight"].numpy()
    np.testing.assert_array_equal(weights["decoder.embedding.positions"], stored[2:])


def test_marian_positions_are_those_that_transformers_computes(tmp_path):
    model = save_model("marian", tmp_path, max_position_embeddings=600)
    computed = model.model.encoder.embed_positions.weight.numpy()
    np.testing.assert_allclose(read_huggingface(tmp_path).weights["encoder.embedding.positions"], computed, atol=1e-7)


def test_m2m100_positions_begin_after_the_padding_id(tmp_path):
    model = save_model("m2m_100", tmp_path, max_position_embeddings=600)
    computed = model.model.decoder.embed_positions.weights.numpy()
    found = read_huggingface(tmp_path).weights["decoder.embedding.positions"]
    np.testing.assert_array_equal(found, computed[2:])


def test_a_head_bias_is_kept_only_where_it_says_something(tmp_path):
    save_model("marian", tmp_path / "biased")
    assert read_huggingface(tmp_path / "biased").spec.head_bias
    edit_arrays(tmp_path / "biased", lambda arrays: arrays["final_logits_bias"].zero_())
    assert not read_huggingface(tmp_path / "biased").spec.head_bias


def test_the_first_t5_scales_its_logits_and_later_ones_do_not(tmp_path):
    scales = {}
    for family in ("t5", "t5-v1.1", "mt5", "umt5"):
        save_model(family, tmp_path / family)
        scales[family] = read_huggingface(tmp_path / family).spec.logit_scale
    # transformers 5 scales those of every UMT5, and writes this into its config; the first ones were untied.
    edit_config(tmp_path / "umt5", tie_word_embeddings=False)
    scales["untied"] = read_huggingface(tmp_path / "umt5").spec.logit_scale
    assert scales == {"t5": 1 / sqrt(16), "t5-v1.1": 1.0, "mt5": 1.0, "umt5": 1 / sqrt(16), "untied": 1.0}


def test_every_layer_of_umt5_has_relative_positions_of_its_own(tmp_path):
    model = save_model("umt5", tmp_path)
    weights = read_huggingface(tmp_path).weights
    for name, layers in (("encoder", 2), ("decoder", 3)):
        for layer in range(layers):
            stored = getattr(model, name).block[layer].layer[0].SelfAttention.relative_attention_bias.weight
            found = weights[f"{name}.layers.{layer}.self_attention.relative_bias"]
            np.testing.assert_array_equal(found, stored.detach().numpy())


def test_the_gelu_of_gated_t5_is_the_tanh_approximation(tmp_path):
    save_model("t5-v1.1", tmp_path)
    encoder = read_huggingface(tmp_path).spec.encoder
    assert encoder is not None
    assert (encoder.activation, encoder.gated) == (Activation.GELU_TANH, True)


def test_start_and_end_come_from_the_generation_config_before_the_config(tmp_path):
    save_model("bart", tmp_path)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [9, 3], "decoder_start_token_id": 5}')
    checkpoint = read_huggingface(tmp_path)
    assert (checkpoint.spec.start_id, checkpoint.spec.end_id, checkpoint.end_ids) == (5, 9, (9, 3))


def test_bfloat16_is_read_as_it_is(tmp_path):
    model = save_model("t5", tmp_path).to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    tokens = read_huggingface(tmp_path).weights["encoder.embedding.tokens"]
    assert tokens.dtype.name == "bfloat16"
    np.testing.assert_array_equal(tokens.astype(np.float32), model.shared.weight.detach().float().numpy())


def test_sharded_files_are_one_checkpoint(tmp_path):
    model = save_model("t5", tmp_path / "whole")
    model.save_pretrained(tmp_path / "parts", max_shard_size="10KB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 1
    whole, parts = (read_huggingface(tmp_path / each).weights for each in ("whole", "parts"))
    for name in whole:
        np.testing.assert_array_equal(whole[name], parts[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_torch_files_give_the_same_arrays(dtype, tmp_path):
    model = save_model("bert", tmp_path / "new").to(dtype)
    model.save_pretrained(tmp_path / "new")
    (tmp_path / "old").mkdir()
    (tmp_path / "old/config.json").write_bytes((tmp_path / "new/config.json").read_bytes())
    torch.save(model.state_dict(), tmp_path / "old/pytorch_model.bin")
    new, old = (read_huggingface(tmp_path / each).weights for each in ("new", "old"))
    for name in new:
        assert old[name].dtype == new[name].dtype
        np.testing.assert_array_equal(old[name], new[name])


def test_tied_arrays_may_be_stored_twice(tmp_path):
    save_model("t5", tmp_path)

    def repeat(arrays):
        for name in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"):
            arrays[name] = arrays["shared.weight"].clone()

    edit_arrays(tmp_path, repeat)
    assert read_huggingface(tmp_path).spec.tied_head


def test_the_only_copy_of_a_tied_array_may_have_any_of_its_names(tmp_path):
    state = save_model("t5", tmp_path).state_dict()
    edit_arrays(tmp_path, lambda arrays: arrays.update({"lm_head.weight": arrays.pop("shared.weight")}))
    checkpoint = read_huggingface(tmp_path)
    assert checkpoint.spec.tied_head
    np.testing.assert_array_equal(checkpoint.weights["encoder.embedding.tokens"], state["shared.weight"].numpy())


def test_a_head_with_numbers_of_its_own_is_not_tied(tmp_path):
    save_model("t5-v1.1", tmp_path)
    head = torch.randn(40, 16)
    edit_arrays(tmp_path, lambda arrays: arrays.update({"lm_head.weight": head}))
    checkpoint = read_huggingface(tmp_path)
    assert not checkpoint.spec.tied_head
    np.testing.assert_array_equal(checkpoint.weights["head.weight"], head.numpy())


def test_copies_of_a_tied_array_that_differ_are_refused(tmp_path):
    save_model("bart", tmp_path)
    edit_arrays(tmp_path, lambda arrays: arrays.update({"model.encoder.embed_tokens.weight": torch.zeros(40, 16)}))
    assert "model.encoder.embed_tokens.weight must equal model.shared.weight" in refusal(tmp_path)


def test_separate_embeddings_of_marian_are_read(tmp_path):
    model = save_model("marian", tmp_path, share_encoder_decoder_embeddings=False, decoder_vocab_size=41)
    checkpoint = read_huggingface(tmp_path)
    assert not checkpoint.spec.shared_embedding
    found = checkpoint.weights["decoder.embedding.tokens"]
    np.testing.assert_array_equal(found, model.model.decoder.embed_tokens.weight.detach().numpy())


def test_names_of_old_bert_files_are_understood(tmp_path):
    save_model("bert", tmp_path)
    before = {name: array.copy() for name, array in read_huggingface(tmp_path).weights.items()}

    def rename(arrays):
        for name in [each for each in arrays if "LayerNorm" in each]:
            arrays[name.replace("weight", "gamma").replace("bias", "beta")] = arrays.pop(name)

    edit_arrays(tmp_path, rename)
    after = read_huggingface(tmp_path).weights
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)


def test_a_t5_encoder_needs_no_decoder(tmp_path):
    save_model("t5", tmp_path)
    edit_config(tmp_path, architectures=["T5EncoderModel"])
    assert read_huggingface(tmp_path).spec.decoder is None


def test_everything_missing_unused_and_misshapen_is_named_at_once(tmp_path):
    save_model("t5", tmp_path)

    def spoil(arrays):
        del arrays["encoder.final_layer_norm.weight"]
        arrays["decoder.extra.weight"] = torch.zeros(3)
        arrays["decoder.final_layer_norm.weight"] = torch.zeros(17)

    edit_arrays(tmp_path, spoil)
    message = refusal(tmp_path)
    assert "missing: encoder.final_layer_norm.weight [16]" in message
    assert "unused: decoder.extra.weight [3]" in message
    assert "decoder.final_layer_norm.weight has shape [17], which makes decoder.final_norm.scale [17]" in message


def test_an_unknown_architecture_is_refused_with_those_that_are_known(tmp_path):
    save_model("t5", tmp_path)
    edit_config(tmp_path, model_type="mamba", architectures=["MambaForCausalLM"])
    message = refusal(tmp_path)
    assert "MambaForCausalLM" in message
    assert "bart, bert, blenderbot, gpt2, m2m_100, marian, mbart, mt5, pegasus, t5, umt5, vit" in message


def test_every_size_that_is_not_a_number_is_named(tmp_path):
    save_model("t5", tmp_path)
    edit_config(tmp_path, d_model="wide", d_ff=0)
    message = refusal(tmp_path)
    assert "'d_model' is \"wide\"" in message
    assert "'d_ff' is 0" in message


@pytest.mark.parametrize("keep", [0, 4, 100, 20000])
def test_a_file_that_is_cut_short_is_refused_before_it_is_read(keep, tmp_path):
    save_model("t5", tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert "model.safetensors" in refusal(tmp_path)


def test_a_header_that_lies_about_sizes_is_refused(tmp_path):
    save_model("t5", tmp_path)
    header = json.dumps({"shared.weight": {"dtype": "F32", "shape": [40, 16], "data_offsets": [0, 8]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    assert "shared.weight: 8 bytes for F32 [40, 16], expected 2560" in refusal(tmp_path)


def test_a_part_that_is_not_there_is_named(tmp_path):
    save_model("t5", tmp_path / "whole").save_pretrained(tmp_path / "parts", max_shard_size="10KB")
    gone = sorted((tmp_path / "parts").glob("*.safetensors"))[1]
    gone.unlink()
    assert gone.name in refusal(tmp_path / "parts")


def test_an_index_cannot_lead_out_of_its_directory(tmp_path):
    save_model("t5", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"shared.weight": "../secret"}}')
    assert "not a file in this directory" in refusal(tmp_path)


def test_a_torch_file_with_anything_but_tensors_is_not_unpickled(tmp_path):
    save_model("t5", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"shared.weight": Path("x")}, tmp_path / "pytorch_model.bin")
    assert "pytorch_model.bin" in refusal(tmp_path)


def test_arrays_that_are_written_are_read_again_in_every_type(tmp_path):
    given = {
        "wide": np.arange(6, dtype=np.float64).reshape(2, 3),
        "half": np.array([1.5, -2], np.float16),
        "brain": np.array([[3.25]], ml_dtypes.bfloat16),
        "whole": np.array([7, 8], np.int64),
        "none": np.zeros((0, 4), np.float32),
    }
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {name: Array(array.shape, lambda array=array: array) for name, array in given.items()})
    found = open_safetensors(path)
    assert list(found) == list(given)
    for name, array in given.items():
        assert found[name].read().dtype == array.dtype
        np.testing.assert_array_equal(found[name].read(), array)
    assert load_file(path)["whole"].tolist() == [7, 8]  # the format's own library reads it too


def test_an_array_that_the_format_lacks_is_named(tmp_path):
    array = np.zeros(2, np.complex64)
    with pytest.raises(SlipwayError, match="phase: numbers of type complex64"):
        write_safetensors(tmp_path / "x.safetensors", {"phase": Array(array.shape, lambda: array)})
