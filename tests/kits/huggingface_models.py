"""Tiny random checkpoints of every family, freshly made by transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers as hf

VOCABULARY = 40
T5 = {"vocab_size": VOCABULARY, "d_model": 16, "d_kv": 4, "d_ff": 32, "num_heads": 2, "decoder_start_token_id": 0}
BART = {
    "vocab_size": VOCABULARY,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 24,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 4,
    "max_position_embeddings": 24,
    "decoder_start_token_id": 2,
}
MARIAN = BART | {
    "decoder_attention_heads": 2,
    "pad_token_id": 39,
    "decoder_start_token_id": 39,
    "eos_token_id": 0,
    "forced_eos_token_id": None,
    "scale_embedding": True,
    "activation_function": "swish",
}
BERT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
FAMILIES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "t5": (hf.T5ForConditionalGeneration, hf.T5Config, T5 | {"num_layers": 2, "num_decoder_layers": 3}),
    "t5-v1.1": (
        hf.T5ForConditionalGeneration,
        hf.T5Config,
        T5 | {"num_layers": 2, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    "mt5": (hf.MT5ForConditionalGeneration, hf.MT5Config, T5 | {"num_layers": 2}),
    "umt5": (hf.UMT5ForConditionalGeneration, hf.UMT5Config, T5 | {"num_layers": 2, "num_decoder_layers": 3}),
    "bart": (hf.BartForConditionalGeneration, hf.BartConfig, BART),
    "blenderbot": (
        hf.BlenderbotForConditionalGeneration,
        hf.BlenderbotConfig,
        BART | {"forced_eos_token_id": None, "encoder_layers": 1, "decoder_layers": 3},
    ),
    "mbart": (hf.MBartForConditionalGeneration, hf.MBartConfig, BART | {"scale_embedding": True}),
    "marian": (hf.MarianMTModel, hf.MarianConfig, MARIAN),
    "pegasus": (hf.PegasusForConditionalGeneration, hf.PegasusConfig, BART | {"activation_function": "relu"}),
    "m2m_100": (hf.M2M100ForConditionalGeneration, hf.M2M100Config, BART),
    "gpt2": (
        hf.GPT2LMHeadModel,
        hf.GPT2Config,
        {
            "vocab_size": VOCABULARY,
            "n_embd": 16,
            "n_layer": 2,
            "n_head": 2,
            "n_positions": 24,
            "bos_token_id": 1,
            "eos_token_id": 1,
        },
    ),
    "bert": (hf.BertModel, hf.BertConfig, BERT | {"vocab_size": VOCABULARY, "max_position_embeddings": 24}),
    "vit": (hf.ViTModel, hf.ViTConfig, BERT | {"image_size": 8, "patch_size": 4}),
}
GENERATING = tuple(name for name in FAMILIES if name not in ("bert", "vit"))
ENCODER_DECODERS = tuple(name for name in GENERATING if name != "gpt2")


def make_model(family: str, **changes: Any) -> Any:
    """Return a random model of `family` whose arrays are all different, including biases and norms."""
    torch.manual_seed(7)
    model_class, config_class, settings = FAMILIES[family]
    model = model_class(config_class(**settings | changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.3)
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.normal_()
    return model


def save_model(family: str, directory: Path, **changes: Any) -> Any:
    """Write a random checkpoint of `family` into `directory` and return the model."""
    model = make_model(family, **changes)
    model.save_pretrained(directory)
    return model
