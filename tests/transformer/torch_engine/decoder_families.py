"""The families of today's decoders, tiny: each with the features that its kin alone have."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from slipway.transformer.spec import (
    Activation,
    Experts,
    Gate,
    Norm,
    Positions,
    QueryKeyNorm,
    Rotary,
    RotaryScaling,
    Transformer,
    standard_scale,
)
from tests.transformer.torch_engine.decoders import (
    LLAMA,
    LLAMA_LAYER,
    LLAMA_NAMES,
    LLAMA_SIZES,
    SIZES,
    Arrays,
    Decoder,
    decoder,
    gemma_like,
    llama_like,
    olmo2_like,
    qwen3_like,
    renamed,
    split_heads,
)

EVERY_LAYER = (0, 1, 2)
NEOX = replace(
    LLAMA, inner=128, norm=Norm.LAYER, norm_epsilon=1e-5, activation=Activation.GELU, gated=False,
    attention_bias=True, feed_forward_bias=True, key_value_heads=0,
)  # fmt: skip


def llama() -> Decoder:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**LLAMA_SIZES, tie_word_embeddings=False, rms_norm_eps=1e-6)
    return decoder(LlamaForCausalLM(config), Transformer(decoder=LLAMA, tied_head=False), llama_like)


def llama_yarn() -> Decoder:
    from transformers import LlamaConfig, LlamaForCausalLM

    parameters = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
    config = LlamaConfig(**LLAMA_SIZES, tie_word_embeddings=False, rms_norm_eps=1e-6, rope_parameters=parameters)
    rotary = Rotary(8, scaling=RotaryScaling.YARN, factor=4.0, original_length=64, magnitude=0.1 * math.log(4.0) + 1.0)
    spec = Transformer(decoder=replace(LLAMA, rotary=rotary), tied_head=False)
    return decoder(LlamaForCausalLM(config), spec, llama_like)


def qwen2() -> Decoder:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(**LLAMA_SIZES, tie_word_embeddings=True, rms_norm_eps=1e-6)
    spec = Transformer(decoder=replace(LLAMA, attention_bias=True, output_bias=False))
    return decoder(
        Qwen2ForCausalLM(config),
        spec,
        lambda arrays: {name: array for name, array in llama_like(arrays).items() if name != "head.weight"},
    )


def mistral() -> Decoder:
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(**LLAMA_SIZES, tie_word_embeddings=False, rms_norm_eps=1e-6, sliding_window=12, head_dim=10)
    stack = replace(
        LLAMA, head_size=10, rotary=Rotary(10), attention_scale=standard_scale(10), window=12, window_layers=EVERY_LAYER
    )
    return decoder(MistralForCausalLM(config), Transformer(decoder=stack, tied_head=False), llama_like)


def gemma2() -> Decoder:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(
        **LLAMA_SIZES, head_dim=8, rms_norm_eps=1e-6, sliding_window=16, query_pre_attn_scalar=20,
        attn_logit_softcapping=3.0, final_logit_softcapping=8.0, hidden_activation="gelu_pytorch_tanh",
        attn_implementation="eager",
    )  # fmt: skip
    stack = replace(
        LLAMA, activation=Activation.GELU_TANH, branch_norm=True, embedding_scale=32**0.5, attention_softcap=3.0,
        attention_scale=20**-0.5, window=16, window_layers=(0, 2),
    )  # fmt: skip
    return decoder(Gemma2ForCausalLM(config), Transformer(decoder=stack, logit_softcap=8.0), gemma_like)


def gemma3() -> Decoder:
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    config = Gemma3TextConfig(
        **LLAMA_SIZES, head_dim=8, rms_norm_eps=1e-6, sliding_window=10, query_pre_attn_scalar=8,
        hidden_activation="gelu_pytorch_tanh",
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    )  # fmt: skip
    stack = replace(
        LLAMA, activation=Activation.GELU_TANH, branch_norm=True, embedding_scale=32**0.5,
        window=10, window_layers=(0, 2), query_key_norm=QueryKeyNorm.HEAD, local_rotary=Rotary(8),
        rotary=Rotary(8, 1e6, scaling=RotaryScaling.LINEAR, factor=8.0),
    )  # fmt: skip
    return decoder(Gemma3ForCausalLM(config), Transformer(decoder=stack), gemma_like)


def qwen3() -> Decoder:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(**LLAMA_SIZES, head_dim=12, rms_norm_eps=1e-6, tie_word_embeddings=False)
    stack = replace(
        LLAMA, head_size=12, rotary=Rotary(12), attention_scale=standard_scale(12), query_key_norm=QueryKeyNorm.HEAD
    )
    return decoder(Qwen3ForCausalLM(config), Transformer(decoder=stack, tied_head=False), qwen3_like)


def olmo2() -> Decoder:
    from transformers import Olmo2Config, Olmo2ForCausalLM

    config = Olmo2Config(**LLAMA_SIZES, rms_norm_eps=1e-6, tie_word_embeddings=False)
    stack = replace(LLAMA, pre_norm=False, branch_norm=True, query_key_norm=QueryKeyNorm.FULL)
    return decoder(Olmo2ForCausalLM(config), Transformer(decoder=stack, tied_head=False), olmo2_like)


def smollm3() -> Decoder:
    from transformers import SmolLM3Config, SmolLM3ForCausalLM

    config = SmolLM3Config(
        **LLAMA_SIZES, rms_norm_eps=1e-6, tie_word_embeddings=False, no_rope_layers=[1, 0, 1], use_sliding_window=False
    )
    spec = Transformer(decoder=replace(LLAMA, rotary=Rotary(8, 2e6), unrotated_layers=(1,)), tied_head=False)
    return decoder(SmolLM3ForCausalLM(config), spec, llama_like)


def granite() -> Decoder:
    from transformers import GraniteConfig, GraniteForCausalLM

    config = GraniteConfig(
        **LLAMA_SIZES, rms_norm_eps=1e-6, tie_word_embeddings=False, embedding_multiplier=3.0,
        attention_multiplier=0.2, residual_multiplier=0.4, logits_scaling=4.0,
    )  # fmt: skip
    stack = replace(LLAMA, embedding_scale=3.0, attention_scale=0.2, residual_scale=0.4)
    return decoder(
        GraniteForCausalLM(config), Transformer(decoder=stack, tied_head=False, logit_scale=0.25), llama_like
    )


def gpt_neox() -> Decoder:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    config = GPTNeoXConfig(
        **SIZES, intermediate_size=128, tie_word_embeddings=False, use_parallel_residual=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5},
    )  # fmt: skip
    layer = {
        "gpt_neox.layers.{}.attention.{part}": "self_attention.{part}",
        "gpt_neox.layers.{}.attention.dense": "self_attention.output",
        "gpt_neox.layers.{}.mlp.dense_h_to_4h": "feed_forward.up",
        "gpt_neox.layers.{}.mlp.dense_4h_to_h": "feed_forward.down",
        "gpt_neox.layers.{}.input_layernorm": "self_attention.norm",
        "gpt_neox.layers.{}.post_attention_layernorm": "feed_forward.norm",
    }
    names = {
        "gpt_neox.embed_in.weight": "decoder.embedding.tokens",
        "gpt_neox.final_layer_norm.weight": "decoder.final_norm.scale",
        "gpt_neox.final_layer_norm.bias": "decoder.final_norm.bias",
        "lm_head.weight": "head.weight",
    }
    spec = Transformer(decoder=replace(NEOX, parallel=True, rotary=Rotary(4)), tied_head=False)

    def rename(arrays: Arrays) -> Arrays:
        return renamed(split_heads(arrays, "gpt_neox.layers.{}.attention.query_key_value", 4, 1), names, layer)

    return decoder(GPTNeoXForCausalLM(config), spec, rename)


def gptj() -> Decoder:
    from transformers import GPTJConfig, GPTJForCausalLM

    config = GPTJConfig(
        vocab_size=100, n_embd=32, n_layer=3, n_head=4, n_inner=128, n_positions=256, rotary_dim=4,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, tie_word_embeddings=False,
    )  # fmt: skip
    layer = {
        **{f"transformer.h.{{}}.attn.{part[0]}_proj": f"self_attention.{part}" for part in ("query", "key", "value")},
        "transformer.h.{}.attn.out_proj": "self_attention.output",
        "transformer.h.{}.mlp.fc_in": "feed_forward.up",
        "transformer.h.{}.mlp.fc_out": "feed_forward.down",
        "transformer.h.{}.ln_1": "self_attention.norm",
    }
    names = {
        "transformer.wte.weight": "decoder.embedding.tokens",
        "transformer.ln_f.weight": "decoder.final_norm.scale",
        "transformer.ln_f.bias": "decoder.final_norm.bias",
        "lm_head.weight": "head.weight",
        "lm_head.bias": "head.bias",
    }
    stack = replace(
        NEOX, parallel=True, shared_norm=True, rotary=Rotary(4, interleaved=True), attention_bias=False,
        activation=Activation.GELU_TANH,
    )  # fmt: skip
    spec = Transformer(decoder=stack, tied_head=False, head_bias=True)
    return decoder(GPTJForCausalLM(config), spec, lambda arrays: renamed(arrays, names, layer))


def phi() -> Decoder:
    from transformers import PhiConfig, PhiForCausalLM

    config = PhiConfig(
        **LLAMA_SIZES, tie_word_embeddings=False, hidden_act="gelu_new",
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5},
    )  # fmt: skip
    layer = {name: own for name, own in LLAMA_LAYER.items() if "q_proj" in name or "k_proj" in name or "v_proj" in name}
    layer |= {
        "model.layers.{}.self_attn.dense": "self_attention.output",
        "model.layers.{}.mlp.fc1": "feed_forward.up",
        "model.layers.{}.mlp.fc2": "feed_forward.down",
        "model.layers.{}.input_layernorm": "self_attention.norm",
    }
    names = {
        "model.embed_tokens.weight": "decoder.embedding.tokens",
        "model.final_layernorm.weight": "decoder.final_norm.scale",
        "model.final_layernorm.bias": "decoder.final_norm.bias",
        "lm_head.weight": "head.weight",
        "lm_head.bias": "head.bias",
    }
    stack = replace(
        NEOX, inner=48, key_value_heads=2, parallel=True, shared_norm=True, rotary=Rotary(4),
        activation=Activation.GELU_TANH,
    )  # fmt: skip
    spec = Transformer(decoder=stack, tied_head=False, head_bias=True)
    return decoder(PhiForCausalLM(config), spec, lambda arrays: renamed(arrays, names, layer))


FALCON_NAMES = {
    "transformer.word_embeddings.weight": "decoder.embedding.tokens",
    "transformer.ln_f.weight": "decoder.final_norm.scale",
    "transformer.ln_f.bias": "decoder.final_norm.bias",
}
FALCON_LAYER = {
    "transformer.h.{}.self_attention.{part}": "self_attention.{part}",
    "transformer.h.{}.self_attention.dense": "self_attention.output",
    "transformer.h.{}.mlp.dense_h_to_4h": "feed_forward.up",
    "transformer.h.{}.mlp.dense_4h_to_h": "feed_forward.down",
    "transformer.h.{}.input_layernorm": "self_attention.norm",
    "transformer.h.{}.post_attention_layernorm": "feed_forward.norm",
    "transformer.h.{}.ln_attn": "self_attention.norm",
    "transformer.h.{}.ln_mlp": "feed_forward.norm",
}


def falcon(query_heads: int, key_value_heads: int, **settings: object) -> Decoder:
    """Return a Falcon whose stored heads are groups of so many queries, a key and a value."""
    from transformers import FalconConfig, FalconForCausalLM

    sizes = {name: value for name, value in SIZES.items() if name != "max_position_embeddings"}
    alibi, parallel = bool(settings.get("alibi")), settings.get("parallel_attn", True)
    bias = bool(settings.get("bias"))
    config = FalconConfig(**sizes, num_kv_heads=key_value_heads, **settings)
    stack = replace(
        NEOX, key_value_heads=key_value_heads, attention_bias=bias, feed_forward_bias=bias, parallel=bool(parallel),
        shared_norm=bool(parallel) and not settings.get("new_decoder_architecture"),
    )  # fmt: skip
    if alibi:
        stack = replace(stack, positions=Positions.ALIBI, rotary=None, alibi_scale=standard_scale(8))

    def rename(arrays: Arrays) -> Arrays:
        split = split_heads(
            arrays, "transformer.h.{}.self_attention.query_key_value", key_value_heads, query_heads, head_size=8
        )
        return renamed(split, FALCON_NAMES, FALCON_LAYER)

    return decoder(FalconForCausalLM(config), Transformer(decoder=stack), rename)


def bloom() -> Decoder:
    from transformers import BloomConfig, BloomForCausalLM

    config = BloomConfig(
        vocab_size=100, hidden_size=48, n_layer=3, n_head=6, pad_token_id=0, bos_token_id=1, eos_token_id=2
    )
    stack = replace(
        NEOX, hidden=48, heads=6, inner=192, positions=Positions.ALIBI, rotary=None, embedding_norm=True,
        activation=Activation.GELU_TANH,
    )  # fmt: skip
    names = FALCON_NAMES | {
        "transformer.word_embeddings_layernorm.weight": "decoder.embedding.norm.scale",
        "transformer.word_embeddings_layernorm.bias": "decoder.embedding.norm.bias",
    }

    def rename(arrays: Arrays) -> Arrays:
        split = split_heads(arrays, "transformer.h.{}.self_attention.query_key_value", 6, 1)
        return renamed(split, names, FALCON_LAYER)

    return decoder(BloomForCausalLM(config), Transformer(decoder=stack), rename)


def mixtral() -> Decoder:
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        **LLAMA_SIZES, rms_norm_eps=1e-6, tie_word_embeddings=False, num_local_experts=5, num_experts_per_tok=3
    )
    experts = Experts(5, 3, Gate.SOFT, EVERY_LAYER, normalised=True)
    spec = Transformer(decoder=replace(LLAMA, rotary=Rotary(8, 1e6), experts=experts), tied_head=False)
    return decoder(MixtralForCausalLM(config), spec, expert_like)


def qwen2_moe() -> Decoder:
    from transformers import Qwen2MoeConfig, Qwen2MoeForCausalLM

    config = Qwen2MoeConfig(
        **LLAMA_SIZES, rms_norm_eps=1e-6, tie_word_embeddings=False, num_experts=6, num_experts_per_tok=2,
        moe_intermediate_size=20, shared_expert_intermediate_size=28, norm_topk_prob=False, mlp_only_layers=[1],
    )  # fmt: skip
    experts = Experts(6, 2, Gate.SOFT, (0, 2), inner=20, shared_inner=28, shared_gate=True)
    stack = replace(LLAMA, attention_bias=True, output_bias=False, experts=experts)
    return decoder(Qwen2MoeForCausalLM(config), Transformer(decoder=stack, tied_head=False), expert_like)


def expert_like(arrays: Arrays) -> Arrays:
    """Return the arrays of Mixtral and Qwen 2 MoE under canonical names."""
    shared = {
        f"model.layers.{{}}.mlp.shared_expert.{stored}_proj": f"feed_forward.shared.{own}"
        for stored, own in (("gate", "up"), ("up", "gated"), ("down", "down"))
    }
    gates = {
        "model.layers.{}.mlp.gate": "feed_forward.router",
        "model.layers.{}.mlp.shared_expert_gate": "feed_forward.shared.gate",
    }
    found = renamed(arrays, LLAMA_NAMES, LLAMA_LAYER | shared | gates)
    for layer in EVERY_LAYER:
        stored, own = f"model.layers.{layer}.mlp.experts", f"decoder.layers.{layer}.feed_forward"
        if f"{stored}.gate_up_proj" in arrays:
            up, gated = np.split(arrays[f"{stored}.gate_up_proj"], 2, axis=1)
            down = arrays[f"{stored}.down_proj"]
            found |= {f"{own}.up.weight": up, f"{own}.gated.weight": gated, f"{own}.down.weight": down}
    return found


def opt_350m() -> Decoder:
    from transformers import OPTConfig, OPTForCausalLM

    config = OPTConfig(**SIZES, ffn_dim=64, word_embed_proj_dim=16, do_layer_norm_before=False)
    layer = {
        **{
            f"model.decoder.layers.{{}}.self_attn.{part[0]}_proj": f"self_attention.{part}"
            for part in ("query", "key", "value")
        },
        "model.decoder.layers.{}.self_attn.out_proj": "self_attention.output",
        "model.decoder.layers.{}.fc1": "feed_forward.up",
        "model.decoder.layers.{}.fc2": "feed_forward.down",
        "model.decoder.layers.{}.self_attn_layer_norm": "self_attention.norm",
        "model.decoder.layers.{}.final_layer_norm": "feed_forward.norm",
    }
    names = {
        "model.decoder.embed_tokens.weight": "decoder.embedding.tokens",
        "model.decoder.embed_positions.weight": "decoder.embedding.positions",
        "model.decoder.project_in.weight": "decoder.embedding.project.weight",
        "model.decoder.project_out.weight": "head.project.weight",
    }
    stack = replace(
        NEOX, inner=64, pre_norm=False, final_norm=False, activation=Activation.RELU, positions=Positions.TABLE,
        rotary=None, position_rows=256, context=0, embedding_size=16,
    )  # fmt: skip

    def rename(arrays: Arrays) -> Arrays:
        found = renamed(arrays, names, layer)
        return found | {"decoder.embedding.positions": found["decoder.embedding.positions"][2:]}

    return decoder(OPTForCausalLM(config), Transformer(decoder=stack), rename)


FAMILIES: dict[str, Callable[[], Decoder]] = {
    "llama": llama,
    "llama-yarn": llama_yarn,
    "qwen2": qwen2,
    "mistral": mistral,
    "gemma2": gemma2,
    "gemma3": gemma3,
    "qwen3": qwen3,
    "olmo2": olmo2,
    "smollm3": smollm3,
    "granite": granite,
    "gpt-neox": gpt_neox,
    "gpt-j": gptj,
    "phi": phi,
    "falcon-multi-query": lambda: falcon(4, 1),
    "falcon-grouped": lambda: falcon(2, 2, new_decoder_architecture=True),
    "falcon-alibi": lambda: falcon(1, 4, alibi=True, multi_query=False, parallel_attn=False, bias=True),
    "falcon-alibi-multi-query": lambda: falcon(4, 1, alibi=True, parallel_attn=True),
    "bloom": bloom,
    "mixtral": mixtral,
    "qwen2-moe": qwen2_moe,
    "opt-350m": opt_350m,
}
