"""Llama and the dense families that compute like it: Llama's row with what differs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from slipway.checkpoints.huggingface.decoder_family import DecoderFamily, Fused, PartNames, WindowRule
from slipway.checkpoints.huggingface.fused_arrays import all_heads, half
from slipway.checkpoints.huggingface.rotary_settings import RotaryRule
from slipway.checkpoints.huggingface.windows import every_layer, unrotated, upper_layers
from slipway.transformer.spec import Norm, QueryKeyNorm

QKV: Final = ("query", "key", "value")
HEAD_NORMS: Final[PartNames] = {
    "self_attention.query_norm": "self_attn.q_norm",
    "self_attention.key_norm": "self_attn.k_norm",
}
LLAMA_PARTS: Final[PartNames] = {
    "embedding.tokens": "embed_tokens",
    "final_norm": "norm",
    "self_attention.norm": "input_layernorm",
    **{f"self_attention.{part}": f"self_attn.{part[0]}_proj" for part in (*QKV, "output")},
    "feed_forward.norm": "post_attention_layernorm",
    "feed_forward.up": "mlp.gate_proj",
    "feed_forward.gated": "mlp.up_proj",
    "feed_forward.down": "mlp.down_proj",
}
LLAMA_NETWORK: Final[dict[str, Any]] = {
    "norm": Norm.RMS,
    "pre_norm": True,
    "final_norm": True,
    "gated": True,
    "attention_bias": False,
    "feed_forward_bias": False,
}

LLAMA: Final = DecoderFamily(
    title="Llama 1-3.x, TinyLlama, SmolLM, SmolLM2",
    parts=LLAMA_PARTS,
    network=LLAMA_NETWORK,
    flags={"attention_bias": ("attention_bias", False), "feed_forward_bias": ("mlp_bias", False)},
    defaults={
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": False,
        "eos_token_id": 2,
        "bos_token_id": 1,
    },
)
_SMOLLM3: Final = replace(
    LLAMA,
    title="SmolLM3",
    rotary=RotaryRule(base=("rope_theta", 2_000_000.0)),
    windows=WindowRule(unrotated, flag="use_sliding_window"),
    also=("layers without positions",),
    special=lambda settings, fields: {"unrotated_layers": unrotated(settings, fields["layers"])},
    defaults={
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "num_key_value_heads": 4,
        "eos_token_id": 128_001,
        "bos_token_id": 128_000,
    },
)
MISTRAL: Final = replace(
    LLAMA,
    title="Mistral",
    flags={},
    windows=WindowRule(every_layer, ignores_types=True),
    defaults=LLAMA.defaults | {"num_key_value_heads": 8, "max_position_embeddings": 131_072},
)
QWEN2: Final = replace(
    LLAMA,
    title="Qwen2, Qwen2.5",
    network=LLAMA_NETWORK | {"attention_bias": True, "output_bias": False},
    flags={},
    windows=WindowRule(upper_layers, flag="use_sliding_window"),
    defaults={"rms_norm_eps": 1e-6, "tie_word_embeddings": False, "max_window_layers": 28},
)
QWEN3: Final = replace(
    QWEN2,
    title="Qwen3",
    parts=LLAMA_PARTS | HEAD_NORMS,
    network=LLAMA_NETWORK | {"query_key_norm": QueryKeyNorm.HEAD},
    flags={"attention_bias": ("attention_bias", False)},
    defaults=QWEN2.defaults | {"head_dim": 128},
)


_PHI3: Final = replace(
    LLAMA,
    title="Phi-3, Phi-3.5, Phi-4, Phi-4-mini",
    parts=LLAMA_PARTS
    | {f"self_attention.{part}": Fused(all_heads(part), ("self_attn.qkv_proj",)) for part in QKV}
    | {
        "feed_forward.up": Fused(half(0), ("mlp.gate_up_proj",)),
        "feed_forward.gated": Fused(half(1), ("mlp.gate_up_proj",)),
    },
    flags={},
    windows=WindowRule(every_layer, ignores_types=True),
    rotary=RotaryRule(aliases=(("su", "longrope"), ("yarn", "longrope"))),
    defaults={
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "original_max_position_embeddings": 4096,
        "eos_token_id": 32_000,
        "bos_token_id": 1,
    },
)
_OLMO2: Final = replace(
    LLAMA,
    title="OLMo 2",
    parts=LLAMA_PARTS
    | HEAD_NORMS
    | {
        "self_attention.branch_norm": "post_attention_layernorm",
        "feed_forward.branch_norm": "post_feedforward_layernorm",
    },
    network=LLAMA_NETWORK | {"pre_norm": False, "branch_norm": True, "query_key_norm": QueryKeyNorm.FULL},
    flags={"attention_bias": ("attention_bias", False)},
    defaults={"rms_norm_eps": 1e-5, "tie_word_embeddings": False, "eos_token_id": 50_279},
)
_GRANITE: Final = replace(
    LLAMA,
    title="Granite",
    numbers={
        "attention_scale": ("attention_multiplier", 1.0),
        "embedding_scale": ("embedding_multiplier", 1.0),
        "residual_scale": ("residual_multiplier", 1.0),
    },
    logit_divisor="logits_scaling",
)


LLAMA_FAMILIES: Final[dict[str, DecoderFamily]] = {
    "granite": _GRANITE,
    "llama": LLAMA,
    "mistral": MISTRAL,
    "olmo2": _OLMO2,
    "phi3": _PHI3,
    "qwen2": QWEN2,
    "qwen3": QWEN3,
    "smollm3": _SMOLLM3,
}
