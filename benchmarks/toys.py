"""Checkpoints for benchmarks: T5-base and BERT-base with random weights, and a small trained T5."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np

_TOY_TOKENS: Final = 12
_TOY_STEPS: Final = 600


def _slipway(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "slipway", *words], check=True, stdout=subprocess.DEVNULL)


def _converted(source: Path, directory: Path) -> Path:
    """Return the FasterTransformer checkpoint of a Hugging Face T5 directory."""
    _slipway("huggingface_t5_ckpt_convert", "-o", str(directory), "-i", str(source), "-i_g", "1")
    return directory / "1-gpu"


def write_t5_base(root: Path, **settings: int) -> tuple[Path, Path]:
    """Write T5-base with random weights; return its Hugging Face directory and its FasterTransformer checkpoint.

    `settings` override those of T5Config.
    """
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    base = {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12}
    config = T5Config(decoder_start_token_id=0, **base | settings)
    source = root / "t5-hf"
    T5ForConditionalGeneration(config).save_pretrained(source)
    return source, _converted(source, root / "t5-ft")


def write_trained_toy(root: Path) -> tuple[Path, np.ndarray, int]:
    """Train a small T5 to reverse sequences; return its checkpoint, sources [rows, tokens] and their length."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=64, d_model=128, d_kv=32, d_ff=256, num_layers=2, num_heads=4, decoder_start_token_id=0
    )
    model: Any = T5ForConditionalGeneration(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(1)
    for _ in range(_TOY_STEPS):
        ids = torch.randint(2, 64, (32, _TOY_TOKENS), generator=generator)
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids.flip(1)).loss.backward()
        optimizer.step()
    source = root / "toy-hf"
    model.eval().save_pretrained(source)
    sources = torch.randint(2, 64, (64, _TOY_TOKENS), generator=generator).numpy()
    return _converted(source, root / "toy-ft"), sources, _TOY_TOKENS


def write_bert_base(root: Path, **settings: int) -> tuple[Path, Path]:
    """Write BERT-base with random weights; return its Hugging Face directory and its LightSeq file.

    `settings` override those of BertConfig.
    """
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    source, target = root / "bert-hf", root / "bert.hdf5"
    BertModel(BertConfig(**settings), add_pooling_layer=False).eval().save_pretrained(source)
    _slipway("lightseq", "export", "--source", "hf-bert", "--model", str(source), "--output", str(target))
    return source, target


def write_page_reader(directory: Path, tokens: int, **settings: int) -> Path:
    """Write a reader of pages of 1280 x 1024 pixels with random weights, which generates exactly `tokens` tokens;
    return its directory.

    The encoder is Swin-T; the decoder is Donut's.
    `settings` override `embed_dim` and the decoder's sizes.
    """
    import torch
    import transformers as hf
    from tokenizers import Tokenizer, models

    torch.manual_seed(0)
    sizes = {
        "embed_dim": 96, "d_model": 1024, "decoder_layers": 4, "decoder_ffn_dim": 4096, "decoder_attention_heads": 16,
        "vocab_size": 50_000, "max_position_embeddings": 1536,
    } | settings  # fmt: skip
    encoder = hf.DonutSwinConfig(
        image_size=[1280, 1024], embed_dim=sizes.pop("embed_dim"), depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24],
        window_size=8,
    )  # fmt: skip
    decoder = hf.MBartConfig(**sizes, scale_embedding=True, pad_token_id=1, bos_token_id=0, eos_token_id=2)
    config = hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    model = hf.VisionEncoderDecoderModel(config).eval()
    model.generation_config = hf.GenerationConfig(
        decoder_start_token_id=2, pad_token_id=1, eos_token_id=2, max_new_tokens=tokens, min_new_tokens=tokens
    )
    model.save_pretrained(directory)
    words = {f"w{number}": number for number in range(sizes["vocab_size"])}
    roles = {f"{role}_token": f"w{number}" for number, role in enumerate(("bos", "pad", "eos", "unk"))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=roles["unk_token"]))
    hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles).save_pretrained(directory)
    half = [0.5, 0.5, 0.5]
    (directory / "preprocessor_config.json").write_text(
        json.dumps(
            {"image_processor_type": "DonutImageProcessor", "size": [1024, 1280], "image_mean": half, "image_std": half}
        )
    )
    return directory
