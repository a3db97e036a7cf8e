"""The tokenizer of an encoder: open it, copy it for serving, and encode texts as inputs of the encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from slipway.convert.byte_tokenizer import CLASS
from slipway.convert.directory import read_json_object
from slipway.convert.encoders.source import EncoderSource
from slipway.convert.encoders.tasks import TASKS
from slipway.convert.tokenizer import copy_tokenizer, disagreement, needs_sentencepiece, open_reference
from slipway.errors import invalid

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

_FILES: Final = (("tokenizer.json",), ("vocab.txt",), ("vocab.json", "merges.txt"))
ENCODING_FIELDS: Final = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}


def load_reference_tokenizer(source: EncoderSource) -> Any:
    """Return the tokenizer as `transformers` opens it; raise `SlipwayError` if its files are missing or corrupt."""
    directory = source.directory
    if not _has_tokenizer(directory):
        choices = " or ".join(" with ".join(names) for names in _FILES)
        raise invalid(f"'{directory}' has no tokenizer: expected {choices}, or a sentencepiece model (*.model)")
    tokenizer = open_reference(
        directory, lambda reason: invalid(f"cannot open the tokenizer of '{directory}': {reason}")
    )
    if source.family.pads_by_id or tokenizer.pad_token_id is None:
        token = tokenizer.convert_ids_to_tokens(source.padding_id) if source.padding_id >= 0 else None
        if token is None:
            raise invalid(
                f"the tokenizer of '{directory}' has no padding token, and config.json does not set one "
                f"(pad_token_id): rows of different lengths cannot share a batch"
            )
        tokenizer.pad_token = token
    return tokenizer


def _has_tokenizer(directory: Path) -> bool:
    if any(all((directory / name).is_file() for name in names) for names in _FILES) or needs_sentencepiece(directory):
        return True
    config = directory / "tokenizer_config.json"  # the only file of a byte tokenizer
    return config.is_file() and read_json_object(config).get("tokenizer_class") == CLASS


def count_prompt_tokens(source: EncoderSource, reference: Any) -> int:
    """Return the number of prompt tokens as sentence-transformers counts them: the tokens of the prompt alone, without
    a special token at its end; 0 if the prompt is pooled with the rest."""
    if source.head is None or not source.head.skips_prompt or not source.prompt:
        return 0
    text = source.prompt.lower() if source.lowercase else source.prompt
    ids = reference(text, truncation=True, max_length=source.max_length)["input_ids"]
    return len(ids) - (ids[-1] in reference.all_special_ids)


def build_tokenizer(source: EncoderSource, reference: Any) -> Tokenizer:
    """Return a copy of the reference that truncates to the model's length and pads a batch to its longest row."""
    from tokenizers import normalizers

    tokenizer = copy_tokenizer(reference, source.max_length)
    if source.lowercase:
        steps = [normalizers.Lowercase()] + ([tokenizer.normalizer] if tokenizer.normalizer else [])
        tokenizer.normalizer = normalizers.Sequence(steps)
    return tokenizer


def encode_texts(source: EncoderSource, tokenizer: Tokenizer, texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the inputs of one row per text; if the task takes pairs, each text is paired with the next one."""
    if len(TASKS[source.task].texts) == 1:
        return encode(tokenizer, [source.prompt + text for text in texts], source.input_names)
    neighbours = [*texts[1:], *texts[:1]]
    firsts = [source.prompt + text for text in texts]
    return encode(tokenizer, list(zip(firsts, neighbours, strict=True)), source.input_names)


def encode(
    tokenizer: Tokenizer, texts: Sequence[str] | Sequence[tuple[str, str]], names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Encode texts or pairs of texts; return each encoder input as INT64 [rows, longest]."""
    encodings: list[Encoding] = tokenizer.encode_batch(list(texts))
    return {name: np.array([getattr(e, ENCODING_FIELDS[name]) for e in encodings], dtype=np.int64) for name in names}


def check_tokenizer(tokenizer: Tokenizer, reference: Any, source: EncoderSource, texts: Sequence[str]) -> None:
    """Raise `SlipwayError` unless both tokenizers encode every text to the same ids, apart from padding."""
    paired = len(TASKS[source.task].texts) > 1
    encoded = encode_texts(source, tokenizer, texts)
    for row, text in enumerate(texts):
        words = [source.prompt + text, *([texts[(row + 1) % len(texts)]] if paired else [])]
        # as lists of one, because an empty second text alone would count as missing
        cased = [[word.lower() if source.lowercase else word] for word in words]
        expected = reference(*cased, truncation=True, max_length=source.max_length)["input_ids"][0]
        if encoded["input_ids"][row][encoded["attention_mask"][row] == 1].tolist() != list(expected):
            raise disagreement(text)
