"""The features of today's decoders in a model with an encoder: T5Gemma, whose cross-attention has them too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from slipway.transformer.generation import Decoding, Search, SequenceRequest, collect
from slipway.transformer.spec import Activation, Transformer
from slipway.transformer.torch_engine.engine import TorchEngine
from tests.transformer.torch_engine.decoders import LLAMA, LLAMA_LAYER, LLAMA_SIZES, Arrays, Decoder, decoder

LENGTHS = (9, 1, 30, 4)
NEW_TOKENS = 24
STACK = replace(
    LLAMA, activation=Activation.GELU_TANH, branch_norm=True, embedding_scale=32**0.5, attention_softcap=3.0,
    attention_scale=20**-0.5,
)  # fmt: skip
ENCODER, DECODER = replace(STACK, window=0), replace(STACK, window=10, window_layers=(0, 2))
BLOCKS = {"self_attn": "self_attention", "cross_attn": "cross_attention", "feedforward": "feed_forward"}


def rename(arrays: Arrays) -> Arrays:
    found = {"head.weight": arrays["lm_head.out_proj.weight"]}
    parts = {name.removeprefix("model.layers.{}."): own for name, own in LLAMA_LAYER.items() if "norm" not in name}
    parts |= {name.replace("self_attn", "cross_attn"): own.replace("self", "cross") for name, own in parts.items()}
    for block, own in BLOCKS.items():
        parts |= {f"pre_{block}_layernorm": f"{own}.norm", f"post_{block}_layernorm": f"{own}.branch_norm"}
    for name in ("encoder", "decoder"):
        found[f"{name}.embedding.tokens"] = arrays[f"model.{name}.embed_tokens.weight"]
        found[f"{name}.final_norm.scale"] = arrays[f"model.{name}.norm.weight"]
        for layer in range(3):
            for stored, own in parts.items():
                array = arrays.get(f"model.{name}.layers.{layer}.{stored}.weight")
                if array is not None:
                    kind = "scale" if "norm" in stored else "weight"
                    found[f"{name}.layers.{layer}.{own}.{kind}"] = array
    return {name: array + 1 if name.endswith(".scale") else array for name, array in found.items()}


@pytest.fixture(scope="module")
def model() -> Decoder:
    from transformers import T5GemmaConfig, T5GemmaForConditionalGeneration, T5GemmaModuleConfig

    settings = LLAMA_SIZES | {
        "head_dim": 8, "rms_norm_eps": 1e-6, "query_pre_attn_scalar": 20, "attn_logit_softcapping": 3.0,
        "final_logit_softcapping": 8.0, "hidden_activation": "gelu_pytorch_tanh", "sliding_window": 10,
    }  # fmt: skip
    full, local = "full_attention", "sliding_attention"
    config = T5GemmaConfig(
        encoder=T5GemmaModuleConfig(**settings, layer_types=[full] * 3),
        decoder=T5GemmaModuleConfig(**settings, layer_types=[local, full, local]),
        tie_word_embeddings=False, attn_implementation="eager", vocab_size=100,
    )  # fmt: skip
    spec = Transformer(ENCODER, DECODER, tied_head=False, logit_softcap=8.0, start_id=1)
    return decoder(T5GemmaForConditionalGeneration(config), spec, rename)


def rows(**changes: object) -> list[SequenceRequest]:
    random = np.random.default_rng(5)
    decoding = replace(Decoding(NEW_TOKENS, start_id=1, end_id=-1), **changes)
    return [SequenceRequest(random.integers(3, 100, length), decoding) for length in LENGTHS]


def test_rows_of_all_lengths_generate_the_ids_of_transformers(model):
    engine = TorchEngine.open(model.spec, model.weights, threads=1)
    for row, found in zip(rows(), collect(engine, rows()), strict=True):
        ids = list(found[0].ids)
        with torch.no_grad():
            logits = model.model(
                input_ids=torch.from_numpy(row.ids)[None], decoder_input_ids=torch.tensor([[1, *ids[:-1]]])
            ).logits
        assert ids == logits[0].argmax(-1).tolist()


def test_beams_do_not_depend_on_the_batch(model):
    engine = TorchEngine.open(model.spec, model.weights, threads=1)
    requests = rows(beam_width=3, search=Search.HUGGING_FACE)
    alone = [collect(engine, [row])[0][0].ids for row in requests]
    assert [found[0].ids for found in collect(engine, requests)] == alone
