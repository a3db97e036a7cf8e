"""Trains a tiny T5 and saves it in Hugging Face's format: config.json, weights and a tokenizer.

In 15 seconds it learns to translate phrases like "two red dogs sleep" to German, so that all steps of the README,
including BLEU, work without a download. A real T5 can replace it without other changes. Next to it are a test set in
the form of FasterTransformer's own (`test.en`, `test.de`: sentencepiece pieces separated by spaces) and a request for
`issue_request.py` (`request.json`).
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

PREFIX = "translate English to German: "
WORDS = (
    {"two": "zwei", "three": "drei", "four": "vier", "five": "fünf", "six": "sechs", "seven": "sieben"},
    {"red": "rote", "blue": "blaue", "green": "grüne", "small": "kleine", "big": "große", "old": "alte"},
    {"dogs": "Hunde", "cats": "Katzen", "birds": "Vögel", "trees": "Bäume", "cars": "Autos", "houses": "Häuser"},
    {"sleep": "schlafen", "wait": "warten", "fall": "fallen"},
)
TEST_LINES = 40
SPACE = "\u2581"
SPECIAL = ("<pad>", "</s>", "<unk>")  # the ids 0, 1 and 2, as in T5


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, save, and write the test set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("t5-tiny"), help="default: t5-tiny")
    parser.add_argument("--steps", type=int, default=200, help="training steps; 0 leaves random weights (default: 200)")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    torch.set_num_threads(1)  # with more threads, steps this small only wait for each other
    pairs = phrases(random.Random(0))  # noqa: S311  not a secret
    tokenizer = make_tokenizer(pairs)
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=64,
            d_kv=16,
            d_ff=128,
            num_layers=2,
            num_heads=4,
            decoder_start_token_id=0,
            dropout_rate=0.0,
        )
    )
    loss = train(model, tokenizer, pairs[TEST_LINES:], options.steps)
    model.eval().save_pretrained(options.output)
    tokenizer.save_pretrained(options.output)
    write_test_set(options.output, tokenizer, pairs[:TEST_LINES])
    print(
        f"wrote {options.output}: {sum(each.numel() for each in model.parameters())} parameters, last loss {loss:.4f}"
    )


def phrases(generator: random.Random) -> list[tuple[str, str]]:
    """Return all English phrases with their translations, shuffled."""
    found = []
    for chosen in product(*WORDS):
        german = [table[word] for table, word in zip(WORDS, chosen, strict=True)]
        found.append((" ".join(chosen), " ".join(german)))
    generator.shuffle(found)
    return found


def make_tokenizer(pairs: Sequence[tuple[str, str]]) -> PreTrainedTokenizerFast:
    """Return a tokenizer like T5's (unigram pieces, U+2581 for spaces) of the words and letters of the phrases.

    The library's trainer depends on the order of a hash table: its pieces, and so the trained model, would differ from
    run to run.
    """
    texts = [PREFIX + source for source, _ in pairs] + [target for _, target in pairs]
    counts = Counter(piece for text in texts for word in text.split() for piece in (SPACE + word, SPACE, *word))
    total = counts.total()
    scored = [(piece, math.log(count / total)) for piece, count in sorted(counts.items())]
    tokenizer: Any = Tokenizer(models.Unigram([(piece, 0.0) for piece in SPECIAL] + scored, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {SPECIAL[1]}", special_tokens=[(SPECIAL[1], 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=SPECIAL[0], eos_token=SPECIAL[1], unk_token=SPECIAL[2]
    )


def train(
    model: T5ForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    pairs: Sequence[tuple[str, str]],
    steps: int,
) -> float:
    """Train the model on the phrases and return the last loss."""
    sources = tokenizer([PREFIX + source for source, _ in pairs], padding=True, return_tensors="pt")
    labels = tokenizer([target for _, target in pairs], padding=True, return_tensors="pt").input_ids
    labels[labels == tokenizer.pad_token_id] = -100  # padding teaches nothing
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    loss = torch.tensor(float("nan"))
    for _ in range(steps):
        chosen = torch.randint(len(pairs), (32,))
        loss = model(
            input_ids=sources.input_ids[chosen],
            attention_mask=sources.attention_mask[chosen],
            labels=labels[chosen],
        ).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def write_test_set(folder: Path, tokenizer: PreTrainedTokenizerFast, pairs: Sequence[tuple[str, str]]) -> None:
    """Write the test set as pieces, and a request for its first line."""
    for suffix, column in (("en", 0), ("de", 1)):
        lines = [" ".join(tokenizer.tokenize(pair[column])) for pair in pairs]
        (folder / f"test.{suffix}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    ids = tokenizer(PREFIX + pairs[0][0]).input_ids
    tensors = [("input_ids", [ids]), ("sequence_length", [[len(ids)]]), ("max_output_len", [[32]])]
    request = {"request": [{"name": name, "data": data, "dtype": "uint32"} for name, data in tensors]}
    (folder / "request.json").write_text(json.dumps(request, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
