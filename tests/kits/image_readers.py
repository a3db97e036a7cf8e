"""Tiny random checkpoints that read images, freshly made by transformers: every kind of encoder and decoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers as hf

VOCABULARY = 60
_BART = {
    "vocab_size": VOCABULARY,
    "d_model": 16,
    "decoder_layers": 2,
    "decoder_ffn_dim": 24,
    "decoder_attention_heads": 4,
    "max_position_embeddings": 40,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}
_SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
_SWIN = {"embed_dim": 8, "depths": [1, 2], "num_heads": [2, 2], "window_size": 4, "patch_size": 4}
ENCODERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "vit": (hf.ViTConfig, _SIZES | {"image_size": [16, 24], "patch_size": 4}),
    "deit": (hf.DeiTConfig, _SIZES | {"image_size": [16, 24], "patch_size": 4, "hidden_size": 24}),
    "swin": (hf.SwinConfig, _SWIN | {"image_size": [32, 48]}),
    "donut-swin": (hf.DonutSwinConfig, _SWIN | {"image_size": [32, 48]}),
}
DECODERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "trocr": (hf.TrOCRConfig, _BART),
    "trocr-sinusoidal": (
        hf.TrOCRConfig,
        _BART | {"use_learned_position_embeddings": False, "layernorm_embedding": False, "scale_embedding": True},
    ),
    "bart": (hf.BartConfig, _BART),
    "mbart": (hf.MBartConfig, _BART | {"scale_embedding": True}),
    "gpt2": (
        hf.GPT2Config,
        {
            "vocab_size": VOCABULARY, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 40, "bos_token_id": 2,
            "eos_token_id": 2,
        },
    ),
}  # fmt: skip


def make_reader(encoder: str = "vit", decoder: str = "trocr", *, image_size: Any = None, **changes: Any) -> Any:
    """Return a random model whose arrays are all different; `changes` are settings of the decoder."""
    torch.manual_seed(11)
    encoder_class, encoder_settings = ENCODERS[encoder]
    decoder_class, decoder_settings = DECODERS[decoder]
    sizes = {} if image_size is None else {"image_size": image_size}
    joined = hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        encoder_class(**encoder_settings | sizes), decoder_class(**decoder_settings | changes)
    )
    joined.decoder_start_token_id, joined.pad_token_id, joined.eos_token_id = 2, 1, 2
    model = hf.VisionEncoderDecoderModel(joined).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # loud weights, so that the texts of different images differ
            parameter.add_(torch.randn_like(parameter) * (0.3 if parameter.ndim < 2 else 0.6))
    model.generation_config = hf.GenerationConfig(
        decoder_start_token_id=2, pad_token_id=1, eos_token_id=2, max_length=20, num_beams=1
    )
    return model


def save_reader(directory: Path, encoder: str = "vit", decoder: str = "trocr", **changes: Any) -> Any:
    """Write a random checkpoint into `directory` and return the model."""
    model = make_reader(encoder, decoder, **changes)
    model.save_pretrained(directory)
    return model


def write_reader(
    directory: Path,
    encoder: str = "vit",
    decoder: str = "trocr",
    *,
    processor: dict[str, Any] | None = None,
    markup: bool = False,
    **changes: Any,
) -> Path:
    """Write a random checkpoint with its tokenizer and image processor into `directory` and return it; with `markup`,
    some of the ids that it generates are special tokens that mark up a page."""
    directory.mkdir(parents=True, exist_ok=True)
    model = save_reader(directory, encoder, decoder, **changes)
    write_word_tokenizer(directory, markup=markup)
    size = model.config.encoder.image_size
    height, width = size if isinstance(size, list) else (size, size)
    settings = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": height, "width": width},
        "image_mean": [0.4, 0.5, 0.6],
        "image_std": [0.2, 0.3, 0.4],
    }
    (directory / "preprocessor_config.json").write_text(json.dumps(settings | (processor or {})))
    return directory


def write_word_tokenizer(directory: Path, *, markup: bool) -> None:
    """Write a tokenizer whose tokens are words: <s> 0, <pad> 1, </s> 2, <unk> 3; with `markup`, the ids from 40 on are
    special tokens such as <x_40>."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    names = ["<s>", "<pad>", "</s>", "<unk>", *(f"▁word{number}" for number in range(4, VOCABULARY))]
    marks = [f"<x_{number}>" for number in range(40, VOCABULARY)] if markup else []
    if marks:
        names[40:] = marks
    tokenizer = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=marks,
    ).save_pretrained(directory)
