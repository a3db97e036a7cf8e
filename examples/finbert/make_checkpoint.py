"""Trains a tiny BERT that sorts financial news as FinBERT does, and saves it in Hugging Face's format.

In ten seconds it learns three labels in FinBERT's order (positive, negative, neutral) from sentences that are made
here, so that all steps of the README work without a download. A real FinBERT can replace it without other changes.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

LABELS = ("positive", "negative", "neutral")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SUBJECTS = """stocks shares bonds profits sales exports orders revenues margins earnings deposits
the+euro the+dollar the+British+pound the+index the+company the+bank oil gold copper""".split()
VERBS = {
    "positive": "rallied gained rose climbed surged improved recovered advanced grew jumped".split(),
    "negative": "fell dropped slid slumped sank declined weakened plunged shrank tumbled".split(),
    "neutral": "were+unchanged held+steady traded+flat barely+moved stayed+level kept+their+value".split(),
}
LAST = "today|on Monday|on Friday|in the first quarter|this year|in London|in early trading".split("|")
HELD_OUT = 200


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, save, and print how many unseen sentences get the right label."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("finbert-tiny"), help="default: finbert-tiny")
    parser.add_argument("--steps", type=int, default=100, help="training steps; 0 leaves random weights (default: 100)")
    parser.add_argument("--width", type=int, default=64, help="hidden size, a multiple of 16 (default: 64)")
    parser.add_argument("--layers", type=int, default=2, help="default: 2")
    parser.add_argument(
        "--vocabulary", type=Path, help="vocab.txt of another BERT (default: the words of the sentences)"
    )
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    torch.set_num_threads(1)  # with more threads, steps this small only wait for each other
    sentences = make_sentences(2000 + HELD_OUT)
    tokenizer = make_tokenizer(
        options.vocabulary.read_text(encoding="utf-8").splitlines()
        if options.vocabulary
        else make_vocabulary([text for text, _ in sentences])
    )
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=options.width,
            intermediate_size=4 * options.width,
            num_hidden_layers=options.layers,
            num_attention_heads=options.width // 16,
            id2label=dict(enumerate(LABELS)),
            label2id={label: number for number, label in enumerate(LABELS)},
            initializer_range=0.1,  # with BERT's 0.02, a network this small hardly learns
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )
    learnt = "random weights"
    if options.steps:
        train(model, tokenizer, sentences[HELD_OUT:], options.steps)
        learnt = f"{correct(model.eval(), tokenizer, sentences[:HELD_OUT])} of {HELD_OUT} unseen sentences right"
    model.save_pretrained(options.output)
    tokenizer.save_pretrained(options.output)
    print(f"wrote {options.output}: {sum(each.numel() for each in model.parameters())} parameters, {learnt}")


def make_sentences(count: int) -> list[tuple[str, int]]:
    """Return different sentences, each with the number of its label."""
    generator = random.Random(0)  # noqa: S311  not a secret
    found: dict[str, int] = {}
    while len(found) < count:
        label = generator.randrange(len(LABELS))
        clauses = [
            f"{generator.choice(SUBJECTS)} {generator.choice(VERBS[LABELS[label]])}"
            for _ in range(generator.randint(1, 2))
        ]
        text = " and ".join(clauses).replace("+", " ")
        if generator.random() < 0.5:
            text = f"{text} {generator.choice(LAST)}"
        found[f"{text[0].upper()}{text[1:]}."] = label
    return list(found.items())


def make_vocabulary(texts: Sequence[str]) -> list[str]:
    """Return BERT's special tokens, the words of the texts, and every letter, so that other words have pieces too.

    The library's trainer depends on the order of a hash table: its pieces, and so the trained model, would differ from
    run to run.
    """
    words = {word for text in texts for word in text.lower().replace(".", " .").split()}
    letters = {*"abcdefghijklmnopqrstuvwxyz0123456789"}
    return [*SPECIAL, *sorted(words | letters | {*",;:!?%$'-"}), *(f"##{letter}" for letter in sorted(letters))]


def make_tokenizer(vocabulary: Sequence[str]) -> PreTrainedTokenizerFast:
    """Return BERT's tokenizer, in lower case, for a vocabulary in the order of its ids."""
    ids = {token: number for number, token in enumerate(vocabulary)}
    tokenizer: Any = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))  # noqa: S106  not a password
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, ids[token]) for token in ("[CLS]", "[SEP]")],
    )
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=512,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **dict(zip(names, SPECIAL, strict=True)),
    )


def train(
    model: BertForSequenceClassification,
    tokenizer: PreTrainedTokenizerFast,
    sentences: Sequence[tuple[str, int]],
    steps: int,
) -> None:
    """Train the model on sentences with their labels."""
    batch = tokenizer([text for text, _ in sentences], padding=True, return_tensors="pt")
    labels = torch.tensor([label for _, label in sentences])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(steps):
        chosen = torch.randint(len(sentences), (32,))
        loss = model(**{name: rows[chosen] for name, rows in batch.items()}, labels=labels[chosen]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def correct(
    model: BertForSequenceClassification, tokenizer: PreTrainedTokenizerFast, sentences: Sequence[tuple[str, int]]
) -> int:
    """Return how many sentences get their own label."""
    batch = tokenizer([text for text, _ in sentences], padding=True, return_tensors="pt")
    with torch.no_grad():
        found = model(**batch).logits.argmax(-1)
    return int((found == torch.tensor([label for _, label in sentences])).sum())


if __name__ == "__main__":
    main()
