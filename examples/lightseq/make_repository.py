"""Make the three example models with tiny random weights, in LightSeq's repository layout.

    python make_repository.py models
    slipway serve models

Each model is made with transformers and exported like a real one: `slipway lightseq export` exports facebook/bart-base,
bert-base-uncased and gpt2 in the same way.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
)

CONFIGS = Path(__file__).parent / "model_repository"
TOKENS = 6000  # the client asks for ids up to 5413


def main() -> None:
    """Make the repository that the command line names."""
    parser = argparse.ArgumentParser(description="Make LightSeq's example models with tiny random weights.")
    parser.add_argument("repository", type=Path, help="directory to make")
    repository = parser.parse_args().repository
    shutil.copytree(CONFIGS, repository, ignore=shutil.ignore_patterns(".gitignore"))
    torch.manual_seed(0)
    export(tiny_bart(), "hf-bart", repository / "transformer_example" / "lightseq_bart_base.hdf5")
    export(tiny_bert(), "hf-bert", repository / "bert_example" / "lightseq_bert_base_uncased.hdf5")
    export(tiny_gpt2(), "hf-gpt2", repository / "gpt_example" / "lightseq_gpt2_base.hdf5")


def export(model: PreTrainedModel, source: str, file: Path) -> None:
    """Write `model` as a LightSeq file."""
    with tempfile.TemporaryDirectory() as directory:
        model.save_pretrained(directory)
        command = [sys.executable, "-m", "slipway", "lightseq", "export", "--source", source, "-m", directory]
        subprocess.run([*command, "-o", str(file)], check=True)


def tiny_bart() -> PreTrainedModel:
    """Return a BART with 64 positions that pads with 1 and starts and ends with 2."""
    sizes = {"vocab_size": TOKENS, "d_model": 32, "max_position_embeddings": 64}
    for side in ("encoder", "decoder"):
        sizes |= {f"{side}_layers": 2, f"{side}_attention_heads": 4, f"{side}_ffn_dim": 64}
    return BartForConditionalGeneration(BartConfig(**sizes, init_std=0.3))


def tiny_bert() -> PreTrainedModel:
    """Return a BERT with 64 positions that pads with 0."""
    sizes = {"vocab_size": TOKENS, "hidden_size": 48, "num_hidden_layers": 2, "intermediate_size": 96}
    return BertModel(BertConfig(**sizes, num_attention_heads=12, max_position_embeddings=64, initializer_range=0.3))


def tiny_gpt2() -> PreTrainedModel:
    """Return a GPT-2 with 64 positions whose end token is the last id."""
    sizes = {"vocab_size": TOKENS, "n_positions": 64, "n_embd": 48, "n_layer": 2, "n_head": 12}
    ends = {"bos_token_id": TOKENS - 1, "eos_token_id": TOKENS - 1}
    return GPT2LMHeadModel(GPT2Config(**sizes, **ends, initializer_range=0.3))


if __name__ == "__main__":
    main()
