"""Tiny random models of transformers, saved as checkpoints: the reference, and the engines' input."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from slipway.checkpoints.checkpoint import Checkpoint
from slipway.checkpoints.huggingface.reader import read_huggingface

T5 = {
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
    "vocab_size": 61,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 16,
    "decoder_start_token_id": 0,
    "pad_token_id": 0,
    "eos_token_id": 1,
}
BART = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "vocab_size": 61,
    "max_position_embeddings": 64,
    "forced_eos_token_id": None,
}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 61, "n_positions": 64}
BERT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 61,
    "max_position_embeddings": 64,
}
MARIAN = BART | {"pad_token_id": 60, "decoder_start_token_id": 60, "eos_token_id": 0, "scale_embedding": True}

# Name -> class of the model, class of its configuration, settings.
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "t5": ("T5ForConditionalGeneration", "T5Config", T5),
    "t5 gated untied": (
        "T5ForConditionalGeneration",
        "T5Config",
        T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    "t5 narrow heads": ("T5ForConditionalGeneration", "T5Config", T5 | {"d_kv": 4}),
    "bart": ("BartForConditionalGeneration", "BartConfig", BART),
    "mbart": ("MBartForConditionalGeneration", "MBartConfig", BART | {"scale_embedding": True}),
    "marian": ("MarianMTModel", "MarianConfig", MARIAN),
    "m2m100": ("M2M100ForConditionalGeneration", "M2M100Config", BART),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", GPT2),
    "bert": ("BertModel", "BertConfig", BERT),
}


@dataclass(frozen=True)
class Tiny:
    """A model of transformers, and the checkpoint read from its files."""

    reference: Any
    checkpoint: Checkpoint


def make(name: str, directory: Path, **changes: Any) -> Tiny:
    """Make the model `name`, with weights large enough that its answers differ."""
    kind, configuration, settings = MODELS[name]
    torch.manual_seed(7)
    model = getattr(transformers, kind)(getattr(transformers, configuration)(**settings | changes)).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)  # biases and scales that have an effect
            elif "position" not in key:
                spread = 0.5 if "embed" in key or "shared" in key or "wte" in key else 3.0  # else tokens repeat
                parameter.copy_(torch.randn_like(parameter) * parameter.shape[-1] ** -0.5 * spread)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(directory)
    return Tiny(model, read_huggingface(directory))
