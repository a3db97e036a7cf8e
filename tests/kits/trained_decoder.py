"""A tiny Llama that has learned a text, so that its scores mean something: rounding barely moves them, damage does."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers as hf

from slipway.convert.sample import sample_texts
from tests.kits.generators import byte_fallback_tokenizer

_STEPS = 250
_LONGEST = 48
_PAD = 0


def write_trained_decoder(directory: Path) -> Path:
    """Train a Llama of 64 numbers and 2 layers on the sample texts and write it with its tokenizer into `directory`;
    return `directory`. Takes some seconds."""
    directory.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(5)
    size = byte_fallback_tokenizer(directory)
    tokenizer = hf.AutoTokenizer.from_pretrained(directory)
    rows = [tokenizer(text)["input_ids"][:_LONGEST] for text in sample_texts()]
    ids = torch.full((len(rows), _LONGEST), _PAD)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row)
    config = hf.LlamaConfig(
        vocab_size=size,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = hf.LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    generator = torch.Generator().manual_seed(1)
    for _ in range(_STEPS):
        batch = ids[torch.randint(0, len(ids), (16,), generator=generator)]
        optimizer.zero_grad()
        model(input_ids=batch, labels=batch.masked_fill(batch == _PAD, -100)).loss.backward()
        optimizer.step()
    model.eval().save_pretrained(directory)
    return directory
