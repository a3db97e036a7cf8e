"""Hyper-parameters: the named sets, overrides on a command line, hparams.json, and what cannot be computed."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path

import pytest

from slipway.checkpoints.tensor2tensor.hparam_limits import check_network, check_training
from slipway.checkpoints.tensor2tensor.hparam_sets import SETS
from slipway.checkpoints.tensor2tensor.hparams import HParams, from_json, named_hparams, override, to_json
from slipway.errors import Code, SlipwayError

PUBLIC = Path(__file__).parents[4] / "shared/data/tensor2tensor/transformer_test_ckpt/hparams.json"
BASE = {
    "hidden_size": 512,
    "filter_size": 2048,
    "num_hidden_layers": 6,
    "num_heads": 8,
    "batch_size": 4096,
    "max_length": 256,
    "layer_prepostprocess_dropout": 0.1,
    "attention_dropout": 0.1,
    "relu_dropout": 0.1,
    "label_smoothing": 0.1,
    "layer_preprocess_sequence": "n",
    "layer_postprocess_sequence": "da",
    "shared_embedding_and_softmax_weights": True,
    "symbol_modality_num_shards": 16,
    "optimizer": "adam",
    "optimizer_adam_beta1": 0.9,
    "optimizer_adam_beta2": 0.997,
    "optimizer_adam_epsilon": 1e-9,
    "clip_grad_norm": 0.0,
    "initializer": "uniform_unit_scaling",
    "initializer_gain": 1.0,
    "weight_decay": 0.0,
    "norm_epsilon": 1e-6,
    "pos": "timing",
    "learning_rate_schedule": "constant*linear_warmup*rsqrt_decay*rsqrt_hidden_size",
    "learning_rate_constant": 2.0,
    "learning_rate_warmup_steps": 8000,
}
POST_NORM = {"layer_preprocess_sequence": "none", "layer_postprocess_sequence": "dan"}
TPU = {
    "optimizer": "adafactor",
    "learning_rate_schedule": "rsqrt_decay",
    "learning_rate_warmup_steps": 10000,
    "symbol_modality_num_shards": 1,
    "max_length": 64,
    "batch_size": 2048,
    "attention_dropout_broadcast_dims": "0,1",
    "relu_dropout_broadcast_dims": "1",
    "layer_prepostprocess_dropout_broadcast_dims": "1",
}
LEGACY = {"learning_rate_schedule": "legacy", "learning_rate_decay_scheme": "noam", "learning_rate_constant": 1.0}
BIG = {"hidden_size": 1024, "filter_size": 4096, "num_heads": 16, "batch_size": 2048}
TINY = {"num_hidden_layers": 2, "hidden_size": 128, "filter_size": 512, "num_heads": 4}
RELATIVE = {"pos": None, "self_attention_type": "dot_product_relative", "max_relative_position": 20}
CLEAN = {
    **LEGACY,
    "learning_rate": 0.2,
    "optimizer_adam_beta2": 0.98,
    "label_smoothing": 0.0,
    "layer_prepostprocess_dropout": 0.0,
    "attention_dropout": 0.0,
    "relu_dropout": 0.0,
    "max_length": 0,
}
CHANGES = {
    "transformer_base": {},
    "transformer_base_v3": {},
    "transformer_base_v1": {
        **POST_NORM,
        **LEGACY,
        "learning_rate": 0.1,
        "learning_rate_warmup_steps": 4000,
        "optimizer_adam_beta2": 0.98,
        "attention_dropout": 0.0,
        "relu_dropout": 0.0,
    },
    "transformer_base_v2": {**LEGACY, "learning_rate": 0.2, "optimizer_adam_beta2": 0.98},
    "transformer_base_single_gpu": {
        "batch_size": 1024,
        "learning_rate_schedule": "constant*linear_warmup*rsqrt_decay",
        "learning_rate_constant": 0.1,
        "learning_rate_warmup_steps": 16000,
    },
    "transformer_base_multistep8": {"optimizer": "multistep_adam", "optimizer_multistep_accumulate_steps": 8},
    "transformer_big": {**BIG, "layer_prepostprocess_dropout": 0.3},
    "transformer_big_single_gpu": {**BIG, "learning_rate_warmup_steps": 16000},
    "transformer_tiny": TINY,
    "transformer_small": {"num_hidden_layers": 2, "hidden_size": 256, "filter_size": 1024, "num_heads": 4},
    "transformer_test": {"num_hidden_layers": 2, "hidden_size": 16, "filter_size": 8, "num_heads": 2},
    "transformer_tpu": TPU,
    "transformer_big_tpu": {**BIG, "layer_prepostprocess_dropout": 0.3, **TPU},
    "transformer_tiny_tpu": {**TINY, **TPU},
    "transformer_packed_tpu": TPU,
    "transformer_l2": {"num_hidden_layers": 2},
    "transformer_l4": {"num_hidden_layers": 4},
    "transformer_l8": {"num_hidden_layers": 8},
    "transformer_l10": {"num_hidden_layers": 10},
    "transformer_h1": {"num_heads": 1},
    "transformer_h4": {"num_heads": 4},
    "transformer_h16": {"num_heads": 16},
    "transformer_h32": {"num_heads": 32},
    "transformer_k128": {"attention_key_channels": 128},
    "transformer_k256": {"attention_key_channels": 256},
    "transformer_ff1024": {"filter_size": 1024},
    "transformer_ff4096": {"filter_size": 4096},
    "transformer_dr0": {"layer_prepostprocess_dropout": 0.0},
    "transformer_dr2": {"layer_prepostprocess_dropout": 0.2},
    "transformer_ls0": {"label_smoothing": 0.0},
    "transformer_ls2": {"label_smoothing": 0.2},
    "transformer_hs256": {"hidden_size": 256},
    "transformer_hs1024": {"hidden_size": 1024},
    "transformer_relative": RELATIVE,
    "transformer_relative_tiny": {**TINY, **RELATIVE},
    "transformer_relative_big": {**BIG, "layer_prepostprocess_dropout": 0.3, **RELATIVE},
    "transformer_clean": CLEAN,
    "transformer_clean_big": {**CLEAN, "hidden_size": 1024, "filter_size": 4096},
}


@pytest.mark.capability("2.2")
@pytest.mark.parametrize("name", CHANGES)
def test_set_differs_from_base_in_the_fields_of_the_published_table_only(name):
    hparams = asdict(named_hparams(name))
    assert {field: hparams[field] for field in BASE} == BASE | {
        field: value for field, value in CHANGES[name].items() if field in BASE
    }
    others = {field for field in hparams if hparams[field] != asdict(HParams())[field]}
    assert others <= CHANGES[name].keys()
    assert {field: hparams[field] for field in CHANGES[name]} == CHANGES[name]


@pytest.mark.capability("2.2")
def test_every_set_is_in_the_table_of_this_test():
    assert set(SETS) == set(CHANGES)


@pytest.mark.capability("2.3")
def test_name_equals_true_names_the_set_and_warns(caplog):
    with caplog.at_level(logging.WARNING):
        assert named_hparams("transformer_tpu=True") == named_hparams("transformer_tpu")
    assert "transformer_tpu=True" in caplog.text


def test_value_other_than_true_after_a_set_is_refused():
    with pytest.raises(SlipwayError, match="--hparams"):
        named_hparams("transformer_tpu=2")


@pytest.mark.capability("2.3")
def test_unknown_set_names_the_nearest():
    with pytest.raises(SlipwayError, match="'transformer_base_singel_gpu' is unknown: did you mean 'transformer_base_"):
        named_hparams("transformer_base_singel_gpu")


def test_set_that_resembles_none_lists_all():
    with pytest.raises(SlipwayError, match="transformer_base, "):
        named_hparams("x")


def test_override_sets_values_of_each_type():
    text = "hidden_size=64, label_smoothing=0,use_fixed_batch_size=true,optimizer=adafactor,pos=None,"
    hparams = override(HParams(), text + "attention_dropout_broadcast_dims=0,1,learning_rate_minimum=1e-6")
    assert hparams.hidden_size == 64
    assert hparams.label_smoothing == 0.0
    assert hparams.use_fixed_batch_size is True
    assert hparams.optimizer == "adafactor"
    assert hparams.pos is None
    assert hparams.attention_dropout_broadcast_dims == "0,1"
    assert hparams.learning_rate_minimum == 1e-6
    assert override(hparams, "") == hparams


def test_override_names_every_problem_at_once():
    with pytest.raises(SlipwayError) as caught:
        override(HParams(), "hiden_size=64,num_heads=two,batch_size,use_fixed_batch_size=maybe")
    assert caught.value.code is Code.INVALID_ARG
    for part in (
        "did you mean 'hidden_size'",
        "'num_heads' is 'two', expected a whole number",
        "expected true or false",
        "'batch_size' has no value",
    ):
        assert part in caught.value.message


def test_override_without_effect_is_named_as_ignored(caplog):
    hparams = override(HParams(), "moe_k=4")
    assert hparams.ignored == ("moe_k",)
    assert "moe_k" in caplog.text


def test_json_round_trip_keeps_every_field():
    hparams = override(named_hparams("transformer_relative"), "learning_rate_minimum=1e-6")
    assert from_json(to_json(hparams)) == hparams
    assert json.loads(to_json(hparams))["max_relative_position"] == 20


def test_json_names_unknown_keys_and_refuses_wrong_types(caplog):
    hparams = from_json('{"hidden_size": 32, "label_smoothing": 0, "own_key": [1], "moe_k": 2}')
    assert hparams.ignored == ("own_key",)
    assert "own_key" in caplog.text
    assert isinstance(hparams.label_smoothing, float)
    with pytest.raises(SlipwayError, match="'hidden_size' is \"32\", expected a whole number; 'pos' is 1, "):
        from_json('{"hidden_size": "32", "pos": 1}')
    with pytest.raises(SlipwayError, match="not valid JSON"):
        from_json("{")
    with pytest.raises(SlipwayError, match="expected a JSON object"):
        from_json("[]")
    with pytest.raises(SlipwayError, match="nested more than 200 levels deep"):
        from_json('{"hidden_size": ' * 10_000)
    with pytest.raises(SlipwayError, match="'label_smoothing' is 1000"):
        from_json(f'{{"label_smoothing": {10**400}}}')


@pytest.mark.skipif(not PUBLIC.is_file(), reason="the public checkpoint is not on this machine")
def test_public_file_of_tensor2tensor_is_understood_whole():
    hparams = from_json(PUBLIC.read_text(encoding="utf-8"))
    assert hparams.ignored == ()
    assert (hparams.hidden_size, hparams.filter_size, hparams.num_heads, hparams.encoder_layers) == (16, 8, 2, 2)
    assert hparams.learning_rate_decay_scheme == "noam"
    check_training(hparams)


@pytest.mark.parametrize("name", sorted(SETS))
def test_sets_are_computed_or_refused_by_name(name):
    hparams = named_hparams(name)
    refused = {"k128": "attention_key_channels", "k256": "attention_key_channels", "relative": "self_attention_type"}
    field = next((field for word, field in refused.items() if word in name), None)
    if field is None:
        check_training(hparams)
    else:
        with pytest.raises(SlipwayError, match=field) as caught:
            check_network(hparams)
        assert caught.value.code is Code.UNSUPPORTED


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hidden_size=12,num_heads=5", "hidden_size is 12"),
        ("num_heads=0", "num_heads is 0"),
        ("layer_postprocess_sequence=dan", "layer_preprocess_sequence"),
        ("optimizer=yellow_fin", "expected one of adam"),
        ("relu_dropout=1.5", "relu_dropout is 1.5"),
        ("label_smoothing=1.0", "label_smoothing is 1.0"),
        ("attention_dropout_broadcast_dims=x", "attention_dropout_broadcast_dims is 'x', expected a list"),
        ("num_encoder_layers=-1", "num_encoder_layers is -1, expected at least 0"),
        ("weight_noise=0.1", "weight_noise is 0.1, expected 0.0"),
        ("norm_epsilon=nan", "norm_epsilon is nan"),
        ("initializer_gain=-1", "initializer_gain is -1.0, expected at least 0 and finite"),
        ("length_bucket_step=nan", "length_bucket_step is nan, expected at least 0 and finite"),
        ("clip_grad_norm=-1", "clip_grad_norm is -1.0"),
        ("learning_rate_constant=inf", "learning_rate_constant is inf"),
        ("optimizer_adam_beta1=2", "optimizer_adam_beta1 is 2.0, expected at least 0 and less than 1"),
        ("optimizer_adafactor_beta2=1", "optimizer_adafactor_beta2 is 1.0, expected at least 0 and less than 1"),
    ],
)
def test_values_that_training_cannot_honour_are_refused(text, message):
    with pytest.raises(SlipwayError, match=message):
        check_training(override(HParams(), text))
