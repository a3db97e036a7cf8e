"""The Gemmas: Llama's row with other norms, soft caps and windows."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from slipway.checkpoints.huggingface.decoder_family import DecoderFamily, PartNames, SettingNames, WindowRule
from slipway.checkpoints.huggingface.fused_arrays import PLUS_ONE
from slipway.checkpoints.huggingface.llama_families import HEAD_NORMS, LLAMA, LLAMA_NETWORK, LLAMA_PARTS
from slipway.checkpoints.huggingface.rotary_settings import RotaryRule
from slipway.checkpoints.huggingface.windows import all_but_every
from slipway.transformer.spec import QueryKeyNorm

_GEMMA_2_PARTS: Final[PartNames] = {
    **LLAMA_PARTS,
    "self_attention.branch_norm": "post_attention_layernorm",
    "feed_forward.norm": "pre_feedforward_layernorm",
    "feed_forward.branch_norm": "post_feedforward_layernorm",
}

_GEMMA: Final = replace(
    LLAMA,
    title="Gemma",
    flags={"attention_bias": ("attention_bias", False)},
    activation="gelu_pytorch_tanh",
    legacy_gelu=True,
    embedding_by_width=True,
    norm_change=PLUS_ONE,
    defaults={"rms_norm_eps": 1e-6, "head_dim": 256, "eos_token_id": 1, "bos_token_id": 2},
)
_GEMMA2: Final = replace(
    _GEMMA,
    title="Gemma 2",
    parts=_GEMMA_2_PARTS,
    network=LLAMA_NETWORK | {"branch_norm": True},
    names=SettingNames(activation=("hidden_activation", "hidden_act")),
    scale_setting="query_pre_attn_scalar",
    numbers={"attention_softcap": ("attn_logit_softcapping", 0.0)},
    scores={"logit_softcap": ("final_logit_softcapping", 0.0)},
    windows=WindowRule(all_but_every),
    defaults=_GEMMA.defaults
    | {
        "query_pre_attn_scalar": 256,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "sliding_window": 4096,
        "_sliding_window_pattern": 2,
        "num_key_value_heads": 4,
    },
)
_GEMMA3: Final = replace(
    _GEMMA2,
    title="Gemma 3 (text)",
    parts=_GEMMA_2_PARTS | HEAD_NORMS,
    network=_GEMMA2.network | {"query_key_norm": QueryKeyNorm.HEAD},
    rotary=RotaryRule(base=("rope_theta", 1_000_000.0), local_base=("rope_local_base_freq", 10_000.0), extends=False),
    defaults=_GEMMA.defaults
    | {
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "_sliding_window_pattern": 6,
        "num_key_value_heads": 4,
        "num_attention_heads": 8,
        "vocab_size": 262_208,
        "max_position_embeddings": 131_072,
    },
)
_GEMMA3_WITH_IMAGES: Final = replace(
    _GEMMA3,
    title="Gemma 3 with images (its text part)",
    roots=("language_model.model.", "model.language_model."),
    head=("language_model.lm_head", "lm_head"),
    within="text_config",
    ignorable=(r"(model\.)?vision_tower\..*", r"(model\.)?multi_modal_projector\..*"),
)


GEMMA_FAMILIES: Final[dict[str, DecoderFamily]] = {
    "gemma": _GEMMA,
    "gemma2": _GEMMA2,
    "gemma3": _GEMMA3_WITH_IMAGES,
    "gemma3_text": _GEMMA3,
}
