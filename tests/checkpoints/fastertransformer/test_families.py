"""GPT and BERT as NVIDIA's converters lay them out, from real models of transformers; parameters instead of an ini."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from slipway.checkpoints.fastertransformer.reader import read_fastertransformer
from slipway.checkpoints.huggingface.reader import read_huggingface
from slipway.errors import SlipwayError
from slipway.transformer.spec import Activation, standard_scale

GPT_INI = """[gpt]
model_name=gpt
max_pos_seq_len=24 ;for position embedding tables
head_num=4
size_per_head=3
inter_size=48
num_layer=2
vocab_size=30
start_id=29
end_id=28
weight_data_type=fp32
tensor_para_size=2
"""
BERT_INI = """[bert]
model_name = bert
position_embedding_type = absolute
hidden_size = 12
num_layer = 2
head_num = 4
size_per_head = 3
activation_type = gelu
inter_size = 20
max_position_embeddings = 16
layer_norm_eps = 1e-12
weight_data_type = fp32
tensor_para_size = 2
"""
PARAMETERS = {
    "head_num": "4",
    "size_per_head": "3",
    "inter_size": "48",
    "vocab_size": "30",
    "start_id": "29",
    "end_id": "28",
    "decoder_layers": "2",
    "max_seq_len": "24",
    "model_name": "gpt_345M",
}
_GPT_NAMES = (
    ("ln_1", "input_layernorm", None, None),
    ("attn.c_attn", "attention.query_key_value", -1, -1),
    ("attn.c_proj", "attention.dense", 0, None),
    ("ln_2", "post_attention_layernorm", None, None),
    ("mlp.c_fc", "mlp.dense_h_to_4h", -1, -1),
    ("mlp.c_proj", "mlp.dense_4h_to_h", 0, None),
)
_BERT_NAMES = (
    *((f"attention.self.{part}", -1, -1) for part in ("query", "key", "value")),
    ("attention.output.dense", 0, None),
    ("attention.output.LayerNorm", None, None),
    ("intermediate.dense", -1, -1),
    ("output.dense", 0, None),
    ("output.LayerNorm", None, None),
)


def save(directory, name, values, split, ways=2):
    if split is None:
        values.tofile(directory / f"{name}.bin")
        return
    for rank, part in enumerate(np.split(values, ways, axis=split)):
        part.tofile(directory / f"{name}.{rank}.bin")


@pytest.fixture(scope="module")
def gpt(tmp_path_factory):
    """A GPT-2 of transformers, and the same as NVIDIA's huggingface_gpt_convert.py lays it out."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=30, n_positions=24, n_embd=12, n_layer=2, n_head=4, bos_token_id=29, eos_token_id=28)
    model = GPT2LMHeadModel(config)
    source, target = tmp_path_factory.mktemp("gpt2"), tmp_path_factory.mktemp("ft")
    model.save_pretrained(source)
    state = {name: value.numpy() for name, value in model.transformer.state_dict().items()}
    for theirs, mine in (
        ("wte.weight", "wte"),
        ("wpe.weight", "wpe"),
        ("ln_f.weight", "final_layernorm.weight"),
        ("ln_f.bias", "final_layernorm.bias"),
    ):
        save(target, f"model.{mine}", state[theirs], None)
    for layer in range(2):
        for theirs, mine, weight_axis, bias_axis in _GPT_NAMES:
            for part, axis in (("weight", weight_axis), ("bias", bias_axis)):
                values = state[f"h.{layer}.{theirs}.{part}"]  # [in, out] already
                if mine.endswith("query_key_value"):
                    values = values.reshape(*values.shape[:-1], 3, 12)
                save(target, f"model.layers.{layer}.{mine}.{part}", np.ascontiguousarray(values), axis)
    (target / "config.ini").write_text(GPT_INI)
    return source, target


def assert_arrays(read, saved):
    assert set(read.weights) == set(saved.weights)
    for name in saved.weights:
        np.testing.assert_array_equal(read.weights[name], saved.weights[name], err_msg=name)


def test_gpt_reads_as_transformers_saved_it(gpt, caplog):
    source, target = gpt
    read, saved = read_fastertransformer(target, kind="GPT"), read_huggingface(source)
    assert_arrays(read, saved)
    assert read.spec.decoder == saved.spec.decoder
    assert (read.spec.start_id, read.spec.end_id, read.spec.tied_head) == (29, 28, True)
    assert not caplog.records


def test_the_first_interface_of_gpt_has_its_dimensions_in_the_parameters(gpt, tmp_path):
    source, target = gpt
    for path in target.glob("*.bin"):
        (tmp_path / path.name).symlink_to(path)
    read = read_fastertransformer(tmp_path, kind="GPT", parameters=PARAMETERS)
    assert_arrays(read, read_huggingface(source))
    assert read.spec.decoder.position_rows == 24
    with pytest.raises(SlipwayError, match=r"head_num is 'four', expected a whole number"):
        read_fastertransformer(tmp_path, kind="GPT", parameters=PARAMETERS | {"head_num": "four"})


def test_parameters_stand_over_config_ini(gpt, tmp_path):
    target = gpt[1]
    for path in target.glob("*.bin"):
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "config.ini").write_text(GPT_INI.replace("num_layer=2", "num_layer=7").replace("end_id=28", "end_id=5"))
    spec = read_fastertransformer(tmp_path, kind="GPT", parameters=PARAMETERS).spec
    assert (spec.decoder.layers, spec.end_id) == (2, 28)


def test_opt_is_a_gpt_with_another_activation(gpt, tmp_path):
    for path in gpt[1].glob("*.bin"):
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "config.ini").write_text(GPT_INI + "model_variant=opt-pre\n")
    decoder = read_fastertransformer(tmp_path, kind="GPT").spec.decoder
    assert (decoder.activation, decoder.pre_norm, decoder.final_norm) == (Activation.RELU, True, True)


def test_bert_reads_as_layers_without_an_embedding(tmp_path):
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=20,
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=20,
        max_position_embeddings=16,
    )
    model = BertModel(config, add_pooling_layer=False)
    state = {name: value.numpy() for name, value in model.encoder.state_dict().items()}
    for layer in range(2):
        for name, weight_axis, bias_axis in _BERT_NAMES:
            for part, axis in (("weight", weight_axis), ("bias", bias_axis)):
                values = np.ascontiguousarray(state[f"layer.{layer}.{name}.{part}"].T)
                save(tmp_path, f"model.encoder.layer.{layer}.{name}.{part}", values, axis)
    (tmp_path / "config.ini").write_text(BERT_INI)
    read = read_fastertransformer(tmp_path, kind="bert")
    encoder = read.spec.encoder
    assert (encoder.embedded_input, encoder.pre_norm, encoder.final_norm) == (True, False, False)
    assert (encoder.norm_epsilon, encoder.attention_scale) == (1e-12, standard_scale(3))
    theirs = {
        "self_attention.query": "attention.self.query",
        "self_attention.output": "attention.output.dense",
        "feed_forward.up": "intermediate.dense",
        "feed_forward.down": "output.dense",
    }
    assert len(read.weights) == 2 * 16
    for layer in range(2):
        for mine, name in theirs.items():
            for part in ("weight", "bias"):
                values = read.weights[f"encoder.layers.{layer}.{mine}.{part}"]
                np.testing.assert_array_equal(values, state[f"layer.{layer}.{name}.{part}"], err_msg=name)
        for mine, name in (("self_attention", "attention.output.LayerNorm"), ("feed_forward", "output.LayerNorm")):
            scale = read.weights[f"encoder.layers.{layer}.{mine}.norm.scale"]
            np.testing.assert_array_equal(scale, state[f"layer.{layer}.{name}.weight"])


def test_the_sample_of_the_original_with_prompts_and_a_comment_is_understood(gpt, tmp_path):
    for path in gpt[1].glob("*.bin"):
        (tmp_path / path.name).symlink_to(path)
    tasks = (
        "prompt_learning_start_id=30\nprompt_learning_type=3\nnum_tasks=1\n\n[task_0]\ntask_name=squad\nprompt_length=3"
    )
    (tmp_path / "config.ini").write_text(GPT_INI + tasks)
    table = np.arange(36, dtype="<f4").reshape(3, 12)
    table.tofile(tmp_path / "model.prompt_table.squad.weight.bin")
    read = read_fastertransformer(tmp_path, kind="GPT")
    assert read.spec.prompts == (("squad", 3),)
    np.testing.assert_array_equal(read.weights["prompts.squad"], table)
