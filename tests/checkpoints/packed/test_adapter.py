"""LoRA adapters made by PEFT: merging gives the weights that PEFT's own merge gives."""

from __future__ import annotations

import json
import shutil
import warnings

import numpy as np
import pytest
import torch
import transformers as hf

from slipway.checkpoints.huggingface.weight_files import open_weight_files
from slipway.checkpoints.packed.adapter import is_adapter, named_base, read_adapter
from slipway.errors import Code, SlipwayError

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

LLAMA = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
GPT2 = {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 4}
CASES = {
    "attention": ("llama", {"target_modules": ["q_proj", "v_proj"], "r": 4, "lora_alpha": 6}),
    "rank-stabilised": ("llama", {"target_modules": ["k_proj", "down_proj"], "r": 4, "use_rslora": True}),
    "patterns": (
        "llama",
        {
            "target_modules": ["o_proj", "up_proj"],
            "rank_pattern": {"up_proj": 2},
            "alpha_pattern": {"up_proj": 3, "layers.1.self_attn.o_proj": 5},
        },
    ),
    "whole-head": ("llama", {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}),
    "tokens": ("llama", {"target_modules": ["embed_tokens", "gate_proj"]}),
    "conv1d": ("gpt2", {"target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True}),
    "square-conv1d": ("gpt2", {"target_modules": ["attn.c_proj"], "fan_in_fan_out": True}),
}


def base_model(kind: str):
    torch.manual_seed(0)
    return (
        hf.LlamaForCausalLM(hf.LlamaConfig(**LLAMA)) if kind == "llama" else hf.GPT2LMHeadModel(hf.GPT2Config(**GPT2))
    )


def made(directory, kind, settings):
    """Write a base and an adapter of it; return the state that PEFT merges them to."""
    base_model(kind).save_pretrained(directory / "base")
    model = peft.get_peft_model(base_model(kind), peft.LoraConfig(task_type="CAUSAL_LM", **settings))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.normal_(0, 0.1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Setting `save_embedding_layers`")
        model.save_pretrained(directory / "adapter")
    return model.merge_and_unload().state_dict()


@pytest.mark.parametrize("case", CASES)
def test_merging_gives_what_peft_gives(tmp_path, case):
    kind, settings = CASES[case]
    expected = made(tmp_path, kind, settings)
    assert is_adapter(tmp_path / "adapter")
    assert not is_adapter(tmp_path / "base")
    stored = open_weight_files(tmp_path / "base")
    merged = read_adapter(tmp_path / "adapter").merged(stored)
    assert merged.keys() == stored.keys()
    changed = 0
    for name, array in merged.items():
        np.testing.assert_allclose(array.read(), expected[name].numpy(), atol=1e-6, err_msg=name)
        changed += not np.array_equal(array.read(), stored[name].read())
    assert changed >= 1


def refused(directory, base=None):
    with pytest.raises(SlipwayError) as caught:
        read_adapter(directory).merged(open_weight_files(base) if base else {})
    return caught.value


def test_an_adapter_of_another_base_is_refused(tmp_path):
    made(tmp_path, "llama", CASES["attention"][1])
    wide = hf.LlamaForCausalLM(hf.LlamaConfig(**LLAMA | {"hidden_size": 32}))
    wide.save_pretrained(tmp_path / "wide")
    error = refused(tmp_path / "adapter", tmp_path / "wide")
    assert error.code is Code.INVALID_ARG
    assert "has shape [16, 16], the base's has [32, 32]" in error.message
    base_model("gpt2").save_pretrained(tmp_path / "other")
    error = refused(tmp_path / "adapter", tmp_path / "other")
    assert "it changes model.layers.0.self_attn.q_proj" in error.message
    assert "are not in the base" in error.message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "IA3"}, "only LORA can be merged"),
        ({"use_dora": True}, "'use_dora' is true, which is not supported"),
        ({"init_lora_weights": "pissa_niter_4"}, "'init_lora_weights' is \"pissa_niter_4\", which is not supported"),
        ({"kasa_config": {"rank": 2}}, "'kasa_config' is"),
        ({"bias": "all"}, "'bias' is \"all\""),
        ({"lora_alpha": "much"}, "'lora_alpha' is \"much\", expected a number"),
        ({"alpha_pattern": {"a|b": 1}}, "a pattern of modules, a|b"),
    ],
)
def test_settings_that_cannot_be_merged_are_refused(tmp_path, change, message):
    made(tmp_path, "llama", CASES["attention"][1])
    path = tmp_path / "adapter/adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert message in refused(tmp_path / "adapter", tmp_path / "base").message


def test_an_adapter_that_changed_its_base_before_training_is_not_the_difference_to_the_base(tmp_path):
    settings = {"target_modules": ["q_proj"], "r": 4}
    made(tmp_path, "llama", settings | {"init_lora_weights": "olora"})
    base = open_weight_files(tmp_path / "base")
    served = peft.PeftModel.from_pretrained(base_model("llama"), tmp_path / "adapter").merge_and_unload().state_dict()
    path = tmp_path / "adapter/adapter_config.json"
    assert "'init_lora_weights' is \"olora\"" in refused(tmp_path / "adapter", tmp_path / "base").message
    path.write_text(json.dumps(json.loads(path.read_text()) | {"init_lora_weights": True}))
    sums = read_adapter(tmp_path / "adapter").merged(base)
    name = "model.layers.0.self_attn.q_proj.weight"
    assert np.abs(sums[name].read() - served[name].numpy()).max() > 0.01


def test_every_setting_of_an_adapter_is_read_or_reported(tmp_path):
    made(tmp_path, "llama", CASES["patterns"][1])
    assert read_adapter(tmp_path / "adapter").ignored == ()
    path = tmp_path / "adapter/adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"lora_beta": 2, "unset": None}))
    assert read_adapter(tmp_path / "adapter").ignored == ("lora_beta",)


def test_an_adapter_may_have_the_configuration_of_its_base_beside_it(tmp_path):
    made(tmp_path, "llama", CASES["attention"][1])
    adapter, base = tmp_path / "adapter", tmp_path / "base"
    shutil.copy(base / "config.json", adapter)
    assert is_adapter(adapter)
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "owner/base"}))
    assert named_base(adapter, "") == "owner/base"
    assert named_base(adapter, "mine") == "mine"
    assert named_base(base, "mine") == ""
    shutil.copy(adapter / "adapter_config.json", base)  # a whole model stays one
    assert not is_adapter(base)


def test_an_adapter_without_weights_is_refused(tmp_path):
    made(tmp_path, "llama", CASES["attention"][1])
    (tmp_path / "adapter/adapter_model.safetensors").unlink()
    assert "has no adapter_model.safetensors" in refused(tmp_path / "adapter").message
