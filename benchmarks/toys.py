"""Checkpoints for benchmarks: T5-base and BERT-base with random weights, and a small trained T5."""

from __future__ import annotations

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
