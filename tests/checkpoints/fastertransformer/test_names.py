"""The names and sizes of all files of a checkpoint, listed by hand from FasterTransformer's converters
(`examples/pytorch/{t5,gpt,bert}/utils`) and loaders (`src/fastertransformer/models`).

One layer over two ranks: hidden size 12, 4 heads of 2, feed-forward 16, 20 tokens, 8 relative buckets. Shapes are of
one rank; nothing here is made by our tables.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import pytest

from slipway.checkpoints.fastertransformer.sections import WriteOptions
from slipway.checkpoints.fastertransformer.writer import write_fastertransformer
from slipway.transformer.spec import Transformer
from tests.kits.fastertransformer_checkpoints import GPT, T5, gated, random_checkpoint, with_bias, with_stacks

BYTES = {"fp32": 4, "fp16": 2}

SHARED = {"shared.weight": (12, 20), "shared.weight_T": (20, 12)}
HEAD = {"lm_head.weight": (20, 12)}
ENCODER = {
    "encoder.final_layer_norm.weight": (12,),
    "encoder.block.0.layer.0.layer_norm.weight": (12,),
    "encoder.block.0.layer.0.SelfAttention.q.weight.0": (12, 4),
    "encoder.block.0.layer.0.SelfAttention.q.weight.1": (12, 4),
    "encoder.block.0.layer.0.SelfAttention.k.weight.0": (12, 4),
    "encoder.block.0.layer.0.SelfAttention.k.weight.1": (12, 4),
    "encoder.block.0.layer.0.SelfAttention.v.weight.0": (12, 4),
    "encoder.block.0.layer.0.SelfAttention.v.weight.1": (12, 4),
    "encoder.block.0.layer.0.SelfAttention.o.weight.0": (4, 12),
    "encoder.block.0.layer.0.SelfAttention.o.weight.1": (4, 12),
    "encoder.block.0.layer.1.layer_norm.weight": (12,),
    "encoder.block.0.layer.1.DenseReluDense.wi.weight.0": (12, 8),
    "encoder.block.0.layer.1.DenseReluDense.wi.weight.1": (12, 8),
    "encoder.block.0.layer.1.DenseReluDense.wo.weight.0": (8, 12),
    "encoder.block.0.layer.1.DenseReluDense.wo.weight.1": (8, 12),
}
DECODER = {
    "decoder.final_layer_norm.weight": (12,),
    "decoder.block.0.layer.0.layer_norm.weight": (12,),
    "decoder.block.0.layer.0.SelfAttention.qkv.weight.0": (12, 3, 4),
    "decoder.block.0.layer.0.SelfAttention.qkv.weight.1": (12, 3, 4),
    "decoder.block.0.layer.0.SelfAttention.o.weight.0": (4, 12),
    "decoder.block.0.layer.0.SelfAttention.o.weight.1": (4, 12),
    "decoder.block.0.layer.1.layer_norm.weight": (12,),
    "decoder.block.0.layer.1.EncDecAttention.q.weight.0": (12, 4),
    "decoder.block.0.layer.1.EncDecAttention.q.weight.1": (12, 4),
    "decoder.block.0.layer.1.EncDecAttention.k.weight.0": (12, 4),
    "decoder.block.0.layer.1.EncDecAttention.k.weight.1": (12, 4),
    "decoder.block.0.layer.1.EncDecAttention.v.weight.0": (12, 4),
    "decoder.block.0.layer.1.EncDecAttention.v.weight.1": (12, 4),
    "decoder.block.0.layer.1.EncDecAttention.o.weight.0": (4, 12),
    "decoder.block.0.layer.1.EncDecAttention.o.weight.1": (4, 12),
    "decoder.block.0.layer.2.layer_norm.weight": (12,),
    "decoder.block.0.layer.2.DenseReluDense.wi.weight.0": (12, 8),
    "decoder.block.0.layer.2.DenseReluDense.wi.weight.1": (12, 8),
    "decoder.block.0.layer.2.DenseReluDense.wo.weight.0": (8, 12),
    "decoder.block.0.layer.2.DenseReluDense.wo.weight.1": (8, 12),
}
ENCODER_RELATIVE = {
    "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight.0": (2, 8),
    "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight.1": (2, 8),
}
DECODER_RELATIVE = {
    "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight.0": (2, 8),
    "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight.1": (2, 8),
}
GATES = {
    "encoder.block.0.layer.1.DenseReluDense.wi2.weight.0": (12, 8),
    "encoder.block.0.layer.1.DenseReluDense.wi2.weight.1": (12, 8),
    "decoder.block.0.layer.2.DenseReluDense.wi2.weight.0": (12, 8),
    "decoder.block.0.layer.2.DenseReluDense.wi2.weight.1": (12, 8),
}
BIASES = {
    "shared.bias": (20,),
    "encoder.final_layer_norm.bias": (12,),
    "encoder.block.0.layer.0.layer_norm.bias": (12,),
    "encoder.block.0.layer.0.SelfAttention.q.bias.0": (4,),
    "encoder.block.0.layer.0.SelfAttention.q.bias.1": (4,),
    "encoder.block.0.layer.0.SelfAttention.k.bias.0": (4,),
    "encoder.block.0.layer.0.SelfAttention.k.bias.1": (4,),
    "encoder.block.0.layer.0.SelfAttention.v.bias.0": (4,),
    "encoder.block.0.layer.0.SelfAttention.v.bias.1": (4,),
    "encoder.block.0.layer.0.SelfAttention.o.bias": (12,),
    "encoder.block.0.layer.1.layer_norm.bias": (12,),
    "encoder.block.0.layer.1.DenseReluDense.wi.bias.0": (8,),
    "encoder.block.0.layer.1.DenseReluDense.wi.bias.1": (8,),
    "encoder.block.0.layer.1.DenseReluDense.wo.bias": (12,),
    "decoder.final_layer_norm.bias": (12,),
    "decoder.block.0.layer.0.layer_norm.bias": (12,),
    "decoder.block.0.layer.0.SelfAttention.qkv.bias.0": (3, 4),
    "decoder.block.0.layer.0.SelfAttention.qkv.bias.1": (3, 4),
    "decoder.block.0.layer.0.SelfAttention.o.bias": (12,),
    "decoder.block.0.layer.1.layer_norm.bias": (12,),
    "decoder.block.0.layer.1.EncDecAttention.q.bias.0": (4,),
    "decoder.block.0.layer.1.EncDecAttention.q.bias.1": (4,),
    "decoder.block.0.layer.1.EncDecAttention.k.bias.0": (4,),
    "decoder.block.0.layer.1.EncDecAttention.k.bias.1": (4,),
    "decoder.block.0.layer.1.EncDecAttention.v.bias.0": (4,),
    "decoder.block.0.layer.1.EncDecAttention.v.bias.1": (4,),
    "decoder.block.0.layer.1.EncDecAttention.o.bias": (12,),
    "decoder.block.0.layer.2.layer_norm.bias": (12,),
    "decoder.block.0.layer.2.DenseReluDense.wi.bias.0": (8,),
    "decoder.block.0.layer.2.DenseReluDense.wi.bias.1": (8,),
    "decoder.block.0.layer.2.DenseReluDense.wo.bias": (12,),
}
GATE_BIASES = {
    "encoder.block.0.layer.1.DenseReluDense.wi2.bias.0": (8,),
    "encoder.block.0.layer.1.DenseReluDense.wi2.bias.1": (8,),
    "decoder.block.0.layer.2.DenseReluDense.wi2.bias.0": (8,),
    "decoder.block.0.layer.2.DenseReluDense.wi2.bias.1": (8,),
}
ABSOLUTE = {"shared.ape": (24, 12)}
IA3 = {  # three tasks
    "encoder.block.0.layer.0.SelfAttention.k.ia3.weight.0": (3, 4),
    "encoder.block.0.layer.0.SelfAttention.k.ia3.weight.1": (3, 4),
    "encoder.block.0.layer.0.SelfAttention.v.ia3.weight.0": (3, 4),
    "encoder.block.0.layer.0.SelfAttention.v.ia3.weight.1": (3, 4),
    "encoder.block.0.layer.1.DenseReluDense.ia3.weight.0": (3, 8),
    "encoder.block.0.layer.1.DenseReluDense.ia3.weight.1": (3, 8),
    "decoder.block.0.layer.0.SelfAttention.k.ia3.weight.0": (3, 4),
    "decoder.block.0.layer.0.SelfAttention.k.ia3.weight.1": (3, 4),
    "decoder.block.0.layer.0.SelfAttention.v.ia3.weight.0": (3, 4),
    "decoder.block.0.layer.0.SelfAttention.v.ia3.weight.1": (3, 4),
    "decoder.block.0.layer.1.EncDecAttention.k.ia3.weight.0": (3, 4),
    "decoder.block.0.layer.1.EncDecAttention.k.ia3.weight.1": (3, 4),
    "decoder.block.0.layer.1.EncDecAttention.v.ia3.weight.0": (3, 4),
    "decoder.block.0.layer.1.EncDecAttention.v.ia3.weight.1": (3, 4),
    "decoder.block.0.layer.2.DenseReluDense.ia3.weight.0": (3, 8),
    "decoder.block.0.layer.2.DenseReluDense.ia3.weight.1": (3, 8),
}
PROMPTS = {"model.prompt_table.sentiment.weight": (3, 12), "model.prompt_table.squad.weight": (5, 12)}
PLAIN = SHARED | HEAD | ENCODER | DECODER | ENCODER_RELATIVE | DECODER_RELATIVE
# Megatron's own converter leaves out shared.weight and lm_head.weight, which no runtime needs; ours writes them too.
WITH_BIAS = SHARED | HEAD | ENCODER | DECODER | BIASES | ABSOLUTE

# Hidden size 8, 4 heads of 2, feed-forward 32, 20 tokens, 16 positions, a head of its own.
GPT_FILES = {
    "model.wte": (20, 8),
    "model.wpe": (16, 8),
    "model.final_layernorm.weight": (8,),
    "model.final_layernorm.bias": (8,),
    "model.lm_head.weight": (20, 8),
    "model.layers.0.input_layernorm.weight": (8,),
    "model.layers.0.input_layernorm.bias": (8,),
    "model.layers.0.attention.query_key_value.weight.0": (8, 3, 4),
    "model.layers.0.attention.query_key_value.weight.1": (8, 3, 4),
    "model.layers.0.attention.query_key_value.bias.0": (3, 4),
    "model.layers.0.attention.query_key_value.bias.1": (3, 4),
    "model.layers.0.attention.dense.weight.0": (4, 8),
    "model.layers.0.attention.dense.weight.1": (4, 8),
    "model.layers.0.attention.dense.bias": (8,),
    "model.layers.0.post_attention_layernorm.weight": (8,),
    "model.layers.0.post_attention_layernorm.bias": (8,),
    "model.layers.0.mlp.dense_h_to_4h.weight.0": (8, 16),
    "model.layers.0.mlp.dense_h_to_4h.weight.1": (8, 16),
    "model.layers.0.mlp.dense_h_to_4h.bias.0": (16,),
    "model.layers.0.mlp.dense_h_to_4h.bias.1": (16,),
    "model.layers.0.mlp.dense_4h_to_h.weight.0": (16, 8),
    "model.layers.0.mlp.dense_4h_to_h.weight.1": (16, 8),
    "model.layers.0.mlp.dense_4h_to_h.bias": (8,),
}


def small(spec: Transformer) -> Transformer:
    return with_stacks(spec, layers=1)


T5_PROMPTS = replace(small(T5), prompts=(("sentiment", 3), ("squad", 5)), prompt_start_id=30)
SMALL_GPT = replace(GPT, decoder=replace(GPT.decoder, layers=1), tied_head=False)


@pytest.mark.parametrize("data_type", ["fp32", "fp16"])
@pytest.mark.parametrize(
    ("spec", "options", "files"),
    [
        (small(T5), {}, PLAIN),
        (small(gated()), {}, PLAIN | GATES),
        (small(with_bias()), {}, WITH_BIAS),
        (small(gated(with_bias())), {}, WITH_BIAS | GATES | GATE_BIASES),
        (with_stacks(small(T5), adapter_tasks=3), {}, PLAIN | IA3),
        (T5_PROMPTS, {}, PLAIN | PROMPTS),
        (small(T5), {"encoder_only": True}, SHARED | ENCODER | ENCODER_RELATIVE),
        (SMALL_GPT, {}, GPT_FILES),
    ],
    ids=["t5", "gated", "bias", "gated-bias", "ia3", "prompts", "encoder", "gpt"],
)
def test_the_files_have_nvidias_names_and_sizes_and_there_are_no_others(tmp_path, spec, options, files, data_type):
    write_fastertransformer(random_checkpoint(spec), tmp_path / "model", WriteOptions(2, data_type, **options))
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "model").glob("*.bin")}
    assert sizes == {f"{name}.bin": prod(shape) * BYTES[data_type] for name, shape in files.items()}


def test_the_first_layout_has_the_same_files_without_a_head(tmp_path):
    write_fastertransformer(random_checkpoint(small(T5)), tmp_path / "model", WriteOptions(2, beta=True))
    names = {path.name for path in (tmp_path / "model").glob("*.bin")}
    assert names == {f"{name}.bin" for name in PLAIN.keys() - HEAD.keys()}


@pytest.mark.parametrize(("ways", "layers"), [(1, 1), (1, 6), (2, 3), (4, 2)])
def test_the_number_of_files_is_that_of_the_converters_formula(tmp_path, ways, layers):
    spec = with_stacks(T5, layers=layers)
    write_fastertransformer(random_checkpoint(spec), tmp_path / "model", WriteOptions(ways))
    count = (6 * ways + 2) * layers + ways + (8 * ways + 3) * layers + ways + 2 + 2 + 1
    assert len(list((tmp_path / "model").glob("*.bin"))) == count
