"""Tokenizers that are not a tokenizer.json: sentencepiece models and ByT5's bytes become one with the same ids."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from slipway.convert.tokenizer import copy_tokenizer
from slipway.errors import SlipwayError
from tests.kits.encoder_checkpoints import WORDS, add_sentence_transformers, write_checkpoint
from tests.kits.encoder_gate import gate

TEXTS = ["the cat sat on the mat", "hé there 東京 \n\t🙂", "", "<extra_id_3> a</s>b <pad>", "a  b "]
FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def drop_tokenizer(source: Path, tokenizer_class: str) -> None:
    for name in FILES:
        (source / name).unlink(missing_ok=True)
    config = {"tokenizer_class": tokenizer_class, "model_max_length": 40}
    (source / "tokenizer_config.json").write_text(json.dumps(config))


def sentencepiece_source(directory: Path, model_type: str, tokenizer_class: str, file: str, **ids: object) -> Path:
    """Write a checkpoint whose tokenizer is a sentencepiece model and nothing else."""
    trainer = pytest.importorskip("sentencepiece").SentencePieceTrainer
    texts = [" ".join(WORDS[place : place + 8]) for place in range(len(WORDS))] * 20
    model = io.BytesIO()
    trainer.train(
        sentence_iterator=iter(texts), model_writer=model, vocab_size=70, hard_vocab_limit=False, minloglevel=2, **ids
    )
    padding = ids.get("pad_id", 1)
    source = add_sentence_transformers(write_checkpoint(directory, model_type, vocab_size=200, pad_token_id=padding))
    drop_tokenizer(source, tokenizer_class)
    (source / file).write_bytes(model.getvalue())
    return source


@pytest.mark.parametrize(
    ("model_type", "tokenizer_class", "file", "ids"),
    [
        ("xlm-roberta", "XLMRobertaTokenizer", "sentencepiece.bpe.model", {}),
        ("t5", "T5Tokenizer", "spiece.model", {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}),
    ],
)
def test_a_sentencepiece_model_is_enough(tmp_path, model_type, tokenizer_class, file, ids):
    from transformers import AutoTokenizer

    source = sentencepiece_source(tmp_path / "source", model_type, tokenizer_class, file, **ids)
    gated = gate(source, tmp_path / "work")
    assert gated.verdict.problems == ()
    reference = AutoTokenizer.from_pretrained(source)
    for text in TEXTS:
        expected = reference(text, truncation=True, max_length=24)["input_ids"]
        assert gated.encode([text])["input_ids"][0].tolist() == expected


def test_without_the_library_the_refusal_names_it(tmp_path, monkeypatch):
    source = write_checkpoint(tmp_path / "source", "xlm-roberta")
    drop_tokenizer(source, "XLMRobertaTokenizer")
    (source / "sentencepiece.bpe.model").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "sentencepiece.sentencepiece_model_pb2", None)
    with pytest.raises(
        SlipwayError, match=r'sentencepiece is not installed: pip install "slipway-serving\[sentencepiece\]"'
    ):
        gate(source, tmp_path / "work")


def test_byt5_is_copied_byte_for_byte(tmp_path):
    from transformers import ByT5Tokenizer

    reference = ByT5Tokenizer()
    copied = copy_tokenizer(reference, 20)
    for text in TEXTS:
        expected = reference(text, truncation=True, max_length=20)["input_ids"]
        assert copied.encode(text).ids == expected
    for text in TEXTS[:1]:
        assert copied.decode(copied.encode(text).ids) == text[:19]
    pair = reference("hé", "x")["input_ids"]
    assert copied.encode("hé", "x").ids == pair


def test_an_encoder_of_bytes_needs_no_vocabulary_file(tmp_path):
    source = add_sentence_transformers(write_checkpoint(tmp_path / "source", "t5", vocab_size=384, eos_token_id=1))
    drop_tokenizer(source, "ByT5Tokenizer")
    assert gate(source, tmp_path / "work").verdict.problems == ()
