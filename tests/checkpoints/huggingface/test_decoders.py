"""A decoder-only checkpoint of any family becomes the specification and arrays it describes, or one error."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from math import log, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

from slipway.checkpoints.huggingface.decoder import read_decoder
from slipway.checkpoints.huggingface.decoder_families import DECODER_FAMILIES
from slipway.checkpoints.huggingface.reader import HuggingFaceCheckpoint, read_huggingface
from slipway.checkpoints.huggingface.settings import HuggingFaceSettings, read_settings
from slipway.errors import Code, SlipwayError
from slipway.transformer.spec import Activation, RotaryScaling, Stack
from slipway.transformer.weights import expected_shapes
from tests.kits.decoder_models import DECODERS, save_decoder

_ROOT = r"^(language_model\.model|model\.language_model|model)\."
YARN = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
LLAMA_3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def edit_config(directory: Path, *remove: str, **changes: object) -> None:
    path = directory / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if key not in remove}))


def edit_arrays(directory: Path, change) -> None:
    arrays = load_file(directory / "model.safetensors")
    save_file(change(arrays), directory / "model.safetensors")


def stack_of(directory: Path) -> Stack:
    return read_huggingface(directory).spec.output_stack


def refusal(directory: Path) -> str:
    with pytest.raises(SlipwayError) as caught:
        read_huggingface(directory)
    assert caught.value.code in (Code.INVALID_ARG, Code.UNSUPPORTED)
    return caught.value.message


def same_arrays(one: HuggingFaceCheckpoint, other: HuggingFaceCheckpoint) -> None:
    assert one.weights.keys() == other.weights.keys()
    for name in one.weights:
        np.testing.assert_array_equal(one.weights[name], other.weights[name])


@pytest.mark.parametrize("name", DECODERS)
def test_each_family_gives_exactly_the_arrays_of_its_specification(name, tmp_path):
    save_decoder(name, tmp_path)
    checkpoint = read_huggingface(tmp_path)
    assert checkpoint.weights.shapes == expected_shapes(checkpoint.spec)
    for each, shape in checkpoint.weights.shapes.items():
        assert checkpoint.weights[each].shape == shape
    assert checkpoint.ignored_settings == ()


@pytest.mark.parametrize("family", DECODER_FAMILIES)
def test_the_defaults_of_a_family_are_those_of_transformers(family):
    config = hf.AutoConfig.for_model(family)
    config = config.get_text_config()
    known = DECODER_FAMILIES[family]
    for name, value in known.defaults.items():
        assert getattr(config, name, value) == value, name
    for field, (name, default) in known.flags.items():
        assert getattr(config, name) == default, field
    for names, ours in ((known.names.norm_epsilon, None), (known.names.activation, known.activation)):
        for name in names[:1]:
            found = getattr(config, name)
            assert found == (known.defaults.get(name, 1e-5) if ours is None else ours)


@pytest.mark.parametrize(
    ("name", "remove", "older"),
    [
        ("llama-3.1", ("rope_parameters",), {"rope_theta": 500_000.0, "rope_scaling": LLAMA_3}),
        ("llama-linear", ("rope_parameters",), {"rope_scaling": {"type": "linear", "factor": 2.0}}),
        ("qwen2", ("rope_parameters", "layer_types"), {"rope_theta": 10_000.0, "rope_scaling": YARN}),
        (
            "gemma3_text",
            ("rope_parameters", "layer_types"),
            {
                "rope_theta": 1_000_000.0,
                "rope_local_base_freq": 10_000.0,
                "rope_scaling": {"rope_type": "linear", "factor": 8.0},
                "sliding_window_pattern": 2,
            },
        ),
        (
            "phi3-longrope",
            ("rope_parameters",),
            {"rope_scaling": {"type": "su", "short_factor": [1, 1.25, 1.5, 2], "long_factor": [1, 2, 3.5, 5]}},
        ),
        ("gpt_neox", ("rope_parameters",), {"rotary_pct": 0.25, "rotary_emb_base": 10_000}),
        ("phi", ("rope_parameters",), {"partial_rotary_factor": 0.5}),
        ("bloom", ("hidden_size", "n_head"), {"n_embed": 32, "num_attention_heads": 4}),
        ("smollm3", ("no_rope_layers", "layer_types"), {"rope_theta": 2_000_000.0, "rope_parameters": None}),
        ("qwen3_moe", ("num_local_experts",), {"num_experts": 4}),
    ],
)
def test_configurations_of_older_versions_describe_the_same_network(name, remove, older, tmp_path):
    save_decoder(name, tmp_path)
    before = read_huggingface(tmp_path).spec
    edit_config(tmp_path, *remove, **older)
    assert read_huggingface(tmp_path).spec == before


@pytest.mark.parametrize("name", ["mixtral", "qwen2_moe", "qwen3_moe"])
def test_experts_may_be_stored_one_by_one_or_together(name, tmp_path):
    model = save_decoder(name, tmp_path / "each")
    (tmp_path / "fused").mkdir()
    (tmp_path / "fused/config.json").write_bytes((tmp_path / "each/config.json").read_bytes())
    save_file(model.state_dict(), tmp_path / "fused/model.safetensors")
    stored = load_file(tmp_path / "each/model.safetensors")
    assert any(re.search(r"experts\.\d+\.", each) for each in stored)
    assert any(each.endswith("experts.gate_up_proj") for each in model.state_dict())
    same_arrays(read_huggingface(tmp_path / "each"), read_huggingface(tmp_path / "fused"))


def test_missing_and_misshapen_experts_are_named(tmp_path):
    save_decoder("mixtral", tmp_path)
    names = "model.layers.0.block_sparse_moe.experts.{}.w2.weight"
    edit_config(tmp_path, num_local_experts=7)
    message = refusal(tmp_path)
    assert f"missing: {names.format(4)} [32, 48], and 2 more like it" in message
    edit_config(tmp_path, num_local_experts=4)
    edit_arrays(tmp_path, lambda arrays: arrays | {names.format(2): torch.zeros(32, 47)})
    assert f"{names.format(2)} has shape [32, 47], expected [32, 48]" in refusal(tmp_path)


def test_gemmas_norms_are_one_more_than_stored_and_added_in_float32(tmp_path):
    model = save_decoder("gemma2", tmp_path).to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    found = read_huggingface(tmp_path).weights["decoder.layers.1.feed_forward.branch_norm.scale"]
    stored = model.model.layers[1].post_feedforward_layernorm.weight.detach().float().numpy()
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, stored + np.float32(1))


def test_gelu_of_the_first_gemma_files_is_the_tanh_approximation(tmp_path):
    save_decoder("gemma", tmp_path)
    edit_config(tmp_path, hidden_act="gelu")
    assert stack_of(tmp_path).activation is Activation.GELU_TANH


def test_the_text_part_of_a_gemma_with_images_is_read(tmp_path):
    save_decoder("gemma3_text", tmp_path)
    alone = read_huggingface(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    whole = {"model_type": "gemma3", "text_config": config, "vision_config": {}, "eos_token_id": [2, 5]}
    (tmp_path / "config.json").write_text(json.dumps(whole))
    (tmp_path / "generation_config.json").unlink()
    for root, tower in (("language_model.model.", "vision_tower."), ("model.language_model.", "model.vision_tower.")):
        stored = load_file(tmp_path / "model.safetensors")
        named = {re.sub(_ROOT, root, each): array for each, array in stored.items()}
        arrays = {each: array for each, array in named.items() if "vision" not in each}
        save_file(arrays | {f"{tower}post_layernorm.bias": torch.zeros(3)}, tmp_path / "model.safetensors")
        found = read_huggingface(tmp_path)
        assert found.spec == alone.spec
        assert found.end_ids == (2, 5)
        same_arrays(found, alone)


def test_a_bias_of_zeros_beside_a_product_that_has_none_is_ignored(tmp_path):
    save_decoder("llama", tmp_path)
    name = "model.layers.1.mlp.down_proj.bias"
    edit_arrays(tmp_path, lambda arrays: arrays | {name: torch.zeros(32, dtype=torch.bfloat16)})
    assert not read_huggingface(tmp_path).spec.output_stack.feed_forward_bias
    edit_arrays(tmp_path, lambda arrays: arrays | {name: torch.eye(32)[0]})
    assert f"unused: {name} [32]" in refusal(tmp_path)
    edit_arrays(tmp_path, lambda arrays: arrays | {name: torch.zeros(32), "model.other.bias": torch.zeros(3)})
    assert "unused: model.other.bias [3]" in refusal(tmp_path)


def test_a_model_saved_without_its_head_has_names_without_a_prefix(tmp_path):
    model = save_decoder("qwen3", tmp_path / "whole")
    model.model.save_pretrained(tmp_path / "bare")
    same_arrays(read_huggingface(tmp_path / "whole"), read_huggingface(tmp_path / "bare"))


def test_a_head_that_is_missing_is_tied_only_if_the_configuration_says_so(tmp_path):
    save_decoder("llama-3.1", tmp_path)
    assert read_huggingface(tmp_path).spec.tied_head
    edit_config(tmp_path, tie_word_embeddings=False)
    assert "missing: lm_head.weight [64, 32]" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("settings", "magnitude"),
    [
        ({}, 0.1 * log(4) + 1),
        ({"attention_factor": 1.25}, 1.25),
        ({"mscale": 2.0, "mscale_all_dim": 1.0}, (0.2 * log(4) + 1) / (0.1 * log(4) + 1)),
        ({"mscale": 2.0}, 0.1 * log(4) + 1),
    ],
)
def test_the_attention_factor_of_yarn_is_given_or_computed(settings, magnitude, tmp_path):
    save_decoder("qwen2", tmp_path)
    edit_config(tmp_path, rope_parameters=YARN | settings)
    rotary = stack_of(tmp_path).rotary
    assert rotary is not None
    assert (rotary.scaling, rotary.original_length) == (RotaryScaling.YARN, 64)
    assert rotary.magnitude == pytest.approx(magnitude)


def test_the_attention_factor_of_longrope_depends_on_how_far_the_context_was_extended(tmp_path):
    save_decoder("phi3-longrope", tmp_path)
    rotary = stack_of(tmp_path).rotary
    assert rotary is not None
    assert rotary.magnitude == pytest.approx(sqrt(1 + log(2) / log(128)))


@pytest.mark.parametrize(
    ("name", "settings", "context"),
    [
        ("llama", {}, 256),
        ("llama", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, 512),
        ("qwen2", {"rope_parameters": YARN | {"original_max_position_embeddings": 256}}, 1024),
        ("gemma3_text", {}, 256),
        ("opt", {}, 256),
        ("bloom", {}, 0),
    ],
)
def test_the_longest_sequence_includes_what_scaling_adds(name, settings, context, tmp_path):
    save_decoder(name, tmp_path)
    edit_config(tmp_path, **settings)
    assert stack_of(tmp_path).longest == context


def rope(**settings: object) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": "llama3", "factor": 2.0} | settings}


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("llama", {"quantization_config": {"bits": 4}}, "'quantization_config' is"),
    ("llama", {"clip_qkv": 8}, "'clip_qkv' is 8, which is not supported for this model type"),
    ("llama", {"attn_logit_softcapping": 5.0}, "'attn_logit_softcapping' is 5.0"),
    ("llama", {"rope_thetta": 2}, "'rope_thetta' is unknown; did you mean 'rope_theta'?"),
    ("llama", {"num_key_value_heads": 3}, "4 query heads cannot share 3 heads of keys and values"),
    ("llama", {"rope_scaling": {"type": "yarm", "factor": 2}}, "scaling 'yarm' is unknown; did you mean 'yarn'?"),
    ("llama", {"rope_scaling": 4}, "'rope_scaling' is 4, expected an object"),
    ("llama", {"rope_scaling": {"type": ["yarn"]}}, "is unknown"),
    ("llama", {"rope_theta": -1.0, "rope_parameters": None}, "'rope_theta' is -1.0, expected a number above 0"),
    ("llama", rope(low_freq_factor=1, high_freq_factor="4"), "rope_parameters: 'high_freq_factor' is \"4\""),
    ("llama", rope(low_freq_factor=1, high_freq_factor=4, hi_freq=2), "rope_parameters: 'hi_freq' is unknown; did you"),
    ("llama", {"hidden_act": "relu2"}, "activation 'relu2' is unknown, expected one of"),
    ("llama", {"attention_bias": "yes"}, "'attention_bias' is \"yes\", expected true or false"),
    ("llama", {"vocab_size": 10**30}, "'vocab_size' is 1000000000000000000000000000000"),
    ("llama", {"num_hidden_layers": 10**6}, "'num_hidden_layers' is 1000000"),
    ("opt", {"num_attention_heads": 64}, "heads of 0 numbers"),
    ("mistral", {"sliding_window": -8}, "'sliding_window' is -8"),
    ("mistral", {"layer_types": ["full_attention", "sliding_attention"]}, "'layer_types' differ between layers"),
    ("mixtral", {"num_local_experts": 10**7}, "'num_local_experts' is 10000000"),
    ("mixtral", {"num_experts_per_tok": 9}, "9 of 4 experts per token"),
    ("qwen2", {"layer_types": ["full_attention"]}, "expected a list for 2 layers"),
    ("qwen2", {"layer_types": ["full_attention", "sliding_atention"]}, "did you mean 'sliding_attention'?"),
    ("qwen2", {"max_window_layers": "all", "layer_types": None}, "'max_window_layers' is \"all\""),
    ("qwen3_moe", {"mlp_only_layers": [7]}, "'mlp_only_layers' is [7], expected a list of numbers from 0 to 2"),
    ("smollm3", {"no_rope_layers": [1]}, "expected 0 or 1 for each of 4 layers"),
    ("gemma2", {"query_pre_attn_scalar": 0}, "'query_pre_attn_scalar' is 0, expected a number above 0"),
    ("gemma2", {"final_logit_softcapping": "30"}, "'final_logit_softcapping' is \"30\", expected a number"),
    ("gemma2", {"use_bidirectional_attention": True}, "'use_bidirectional_attention' is true"),
    ("granite", {"logits_scaling": 0}, "'logits_scaling' is 0, expected a number above 0"),
    ("gptj", {"rotary_dim": None}, "'rotary_dim' is null"),
    ("gptj", {"rotary_dim": 5}, "5 of 8 numbers per head cannot be rotated in pairs"),
    ("phi", {"qk_layernorm": True}, "'qk_layernorm' is true"),
    ("phi", {"rope_parameters": {"partial_rotary_factor": 1e299}}, "of 8 numbers per head cannot be rotated"),
    ("phi3-longrope", {"rope_parameters": {"type": "su", "long_factor": [1], "short_factor": [1]}}, "1 short and"),
    ("opt", {"layer_norm_elementwise_affine": False}, "'layer_norm_elementwise_affine' is false"),
    ("bloom", {"apply_residual_connection_post_layernorm": True}, "'apply_residual_connection_post_layernorm' is true"),
    ("falcon-7b", {"num_ln_in_parallel_attn": 2}, "2 norms with 'parallel_attn' True"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "changes", "message"), REFUSED, ids=[f"{name}-{place}" for place, (name, *_) in enumerate(REFUSED)]
)
def test_a_setting_that_cannot_be_honoured_is_refused_by_name(name, changes, message, tmp_path):
    save_decoder(name, tmp_path)
    edit_config(tmp_path, **changes)
    assert message in refusal(tmp_path)


def replaced(settings: dict[str, Any], value: object) -> Iterator[dict[str, Any]]:
    """Yield copies of the settings in which one of them, at any depth, has another value."""
    for key, old in settings.items():
        yield {**settings, key: value}
        if isinstance(old, dict):
            for inner in replaced(old, value):
                yield {**settings, key: inner}


@pytest.mark.parametrize("name", [name for name in DECODERS if not name.startswith("llama-")])
def test_a_setting_of_the_wrong_type_is_refused_or_has_no_effect_and_never_anything_else(name, tmp_path):
    save_decoder(name, tmp_path)
    config = dict(read_settings(tmp_path).config)
    kind = {"model_type": config.pop("model_type")}
    codes = []
    for value in ("x", -1, 0, [[]], {"a": 1}, True, 1e300):
        for changed in replaced(config, value):
            try:
                read_decoder(HuggingFaceSettings(tmp_path / "config.json", kind | changed, {}), {})
            except SlipwayError as error:
                codes.append(error.code)
    assert len(codes) > 50  # of about 200
    assert set(codes) <= {Code.INVALID_ARG, Code.UNSUPPORTED}


def test_a_setting_that_nobody_knows_is_reported(tmp_path):
    save_decoder("llama", tmp_path)
    edit_config(tmp_path, trained_by="me", attention_dropout=0.1, rope_interleaved=False)
    assert read_huggingface(tmp_path).ignored_settings == ("trained_by",)
