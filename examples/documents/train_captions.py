"""Train the caption classifier on made-up captions and other texts: `train_captions.py OUT_DIRECTORY --steps 60`.

Writes `model.pt` (the weights) and `tokenizer.json` (which the client needs: the model takes ids).
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
import torch
from caption_model import TOKENS, VOCABULARY, CaptionClassifier
from layouts import random_caption, random_other_text
from tokenizers import ByteLevelBPETokenizer
from torch.nn import functional

from slipway.documents.captions import cleaned

BATCH = 32
RATE = 1e-3


def write_tokenizer(path: Path, texts: list[str]) -> ByteLevelBPETokenizer:
    """Write a byte-level tokenizer that makes 128 tokens of every text; return it."""
    tokenizer = ByteLevelBPETokenizer()
    special = ["[PAD]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator(texts, vocab_size=VOCABULARY, special_tokens=special, show_progress=False)
    tokenizer.post_processor = None
    tokenizer.enable_truncation(TOKENS)
    tokenizer.enable_padding(length=TOKENS)
    tokenizer.save(str(path))
    return tokenizer


def main() -> None:
    """Train, and report the share of held-out texts that are classified right."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    source = random.Random(0)  # noqa: S311  texts are not secrets

    def texts(count: int) -> tuple[list[str], torch.Tensor]:
        right = [source.random() < 0.5 for _ in range(count)]
        made = [random_caption(source) if each else random_other_text(source) for each in right]
        return [cleaned(each) for each in made], torch.tensor(right, dtype=torch.float32)[:, None]

    tokenizer = write_tokenizer(arguments.out / "tokenizer.json", texts(2000)[0])

    def encoded(batch: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        encodings = tokenizer.encode_batch(batch)
        ids, mask = (np.array([getattr(each, part) for each in encodings]) for part in ("ids", "attention_mask"))
        return torch.from_numpy(ids), torch.from_numpy(mask).float()

    network = CaptionClassifier()
    optimiser = torch.optim.AdamW(network.parameters(), RATE)
    for step in range(1, arguments.steps + 1):
        batch, right = texts(BATCH)
        loss = functional.binary_cross_entropy_with_logits(network.logits(*encoded(batch)), right)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 20 == 0 or step == arguments.steps:
            print(f"step {step} of {arguments.steps}: loss {loss.item():.3f}", flush=True)
    network.eval()
    batch, right = texts(400)
    with torch.no_grad():
        found = network.logits(*encoded(batch)) > 0
    print(f"captions: {(found == (right > 0)).float().mean().item():.1%} of 400 held-out texts classified right")
    torch.save(network.state_dict(), arguments.out / "model.pt")


if __name__ == "__main__":
    main()
