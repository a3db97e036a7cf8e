"""Tiny random decoder-only checkpoints of every family, freshly made by transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers as hf

VOCABULARY = 64
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_UNGROUPED = {name: value for name, value in SIZES.items() if name != "num_key_value_heads"}
_GPT = {
    "vocab_size": VOCABULARY,
    "n_layer": 2,
    "n_head": 4,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_FALCON = {name: value for name, value in _UNGROUPED.items() if name != "intermediate_size"}
_OPT = _FALCON | {"ffn_dim": 48}
_GEMMA = SIZES | {"head_dim": 16, "num_hidden_layers": 3}
_GEMMA_2 = _GEMMA | {"sliding_window": 8, "query_pre_attn_scalar": 24}
_EXPERTS = SIZES | {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "num_hidden_layers": 3,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [1],
}
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 10_000.0}
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
    "rope_theta": 500_000.0,
}
_LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.25, 1.5, 2.0],
    "long_factor": [1.0, 2.0, 3.5, 5.0],
    "rope_theta": 10_000.0,
}
# The name of a checkpoint -> its network and configuration.
DECODERS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "llama": (hf.LlamaForCausalLM, hf.LlamaConfig, SIZES),
    "llama-3.1": (
        hf.LlamaForCausalLM,
        hf.LlamaConfig,
        SIZES | {"head_dim": 12, "tie_word_embeddings": True, "rope_parameters": _LLAMA3},
    ),
    "llama-biased": (
        hf.LlamaForCausalLM,
        hf.LlamaConfig,
        SIZES | {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 4},
    ),
    "llama-linear": (
        hf.LlamaForCausalLM,
        hf.LlamaConfig,
        SIZES | {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0}},
    ),
    "llama-dynamic": (
        hf.LlamaForCausalLM,
        hf.LlamaConfig,
        SIZES | {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}},
    ),
    "smollm3": (
        hf.SmolLM3ForCausalLM,
        hf.SmolLM3Config,
        SIZES | {"num_hidden_layers": 4, "use_sliding_window": True, "sliding_window": 8},
    ),
    "mistral": (hf.MistralForCausalLM, hf.MistralConfig, SIZES | {"sliding_window": 8, "head_dim": 12}),
    "mixtral": (
        hf.MixtralForCausalLM,
        hf.MixtralConfig,
        SIZES | {"num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    "qwen2": (
        hf.Qwen2ForCausalLM,
        hf.Qwen2Config,
        SIZES | {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1, "rope_parameters": _YARN},
    ),
    "qwen3": (hf.Qwen3ForCausalLM, hf.Qwen3Config, SIZES | {"head_dim": 12, "tie_word_embeddings": True}),
    "qwen2_moe": (
        hf.Qwen2MoeForCausalLM,
        hf.Qwen2MoeConfig,
        _EXPERTS | {"shared_expert_intermediate_size": 40},
    ),
    "qwen3_moe": (hf.Qwen3MoeForCausalLM, hf.Qwen3MoeConfig, _EXPERTS | {"head_dim": 12, "norm_topk_prob": True}),
    "gemma": (hf.GemmaForCausalLM, hf.GemmaConfig, _GEMMA | {"num_key_value_heads": 1}),
    "gemma2": (
        hf.Gemma2ForCausalLM,
        hf.Gemma2Config,
        _GEMMA_2 | {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 4.0},
    ),
    "gemma3_text": (
        hf.Gemma3ForCausalLM,
        hf.Gemma3TextConfig,
        _GEMMA_2
        | {
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
            },
        },
    ),
    "phi": (hf.PhiForCausalLM, hf.PhiConfig, _UNGROUPED),
    "phi3": (hf.Phi3ForCausalLM, hf.Phi3Config, SIZES | {"sliding_window": 8}),
    "phi3-longrope": (
        hf.Phi3ForCausalLM,
        hf.Phi3Config,
        SIZES | {"original_max_position_embeddings": 128, "rope_parameters": _LONGROPE},
    ),
    "gpt_neox": (hf.GPTNeoXForCausalLM, hf.GPTNeoXConfig, _UNGROUPED),
    "gpt_neox-sequential": (
        hf.GPTNeoXForCausalLM,
        hf.GPTNeoXConfig,
        _UNGROUPED | {"use_parallel_residual": False, "attention_bias": False},
    ),
    "gptj": (hf.GPTJForCausalLM, hf.GPTJConfig, _GPT | {"n_embd": 32, "n_positions": 256, "rotary_dim": 4}),
    "opt": (hf.OPTForCausalLM, hf.OPTConfig, _OPT),
    "opt-350m": (
        hf.OPTForCausalLM,
        hf.OPTConfig,
        _OPT | {"do_layer_norm_before": False, "word_embed_proj_dim": 24},
    ),
    "bloom": (hf.BloomForCausalLM, hf.BloomConfig, _GPT | {"hidden_size": 32}),
    "falcon-7b": (hf.FalconForCausalLM, hf.FalconConfig, _FALCON),
    "falcon-40b": (
        hf.FalconForCausalLM,
        hf.FalconConfig,
        _FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2},
    ),
    "falcon-11b": (
        hf.FalconForCausalLM,
        hf.FalconConfig,
        _FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1},
    ),
    "falcon-rw": (
        hf.FalconForCausalLM,
        hf.FalconConfig,
        _FALCON | {"alibi": True, "multi_query": False, "parallel_attn": False, "bias": True},
    ),
    "starcoder2": (hf.Starcoder2ForCausalLM, hf.Starcoder2Config, SIZES | {"sliding_window": 8}),
    "olmo2": (hf.Olmo2ForCausalLM, hf.Olmo2Config, SIZES),
    "granite": (
        hf.GraniteForCausalLM,
        hf.GraniteConfig,
        SIZES
        | {
            "attention_multiplier": 0.2,
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.4,
            "logits_scaling": 2.0,
        },
    ),
}


def make_decoder(name: str, **changes: Any) -> Any:
    """Return a random model whose arrays are all different, including biases and norms; its scores are far apart."""
    torch.manual_seed(7)
    model_class, config_class, settings = DECODERS[name]
    model = model_class(config_class(**settings | changes)).eval()
    with torch.no_grad():
        for each, parameter in model.named_parameters():
            wide = 1.0 if "norm" in each or "ln" in each or each.endswith("bias") else 4.0
            parameter.add_(torch.randn_like(parameter) * 0.05 * wide)
    return model


def save_decoder(name: str, directory: Path, **changes: Any) -> Any:
    """Write a random checkpoint into `directory` and return the model."""
    model = make_decoder(name, **changes)
    model.save_pretrained(directory)
    return model
