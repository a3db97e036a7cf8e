"""The tokenizer of a text generator: open it, copy it for serving, and compare the two in both directions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from slipway.convert.generation.source import GenerationSource
from slipway.convert.tokenizer import copy_tokenizer, disagreement, open_reference
from slipway.errors import SlipwayError, invalid

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_NO_LIMIT: Final = 1 << 20


def load_reference(source: GenerationSource) -> Any:
    """Return the tokenizer as `transformers` opens it; raise `SlipwayError` if it is missing or has no fast version."""
    tokenizer = open_reference(source.directory, partial(_no_tokenizer, source.directory))
    tokenizer.truncation_side = "left" if source.continues else "right"
    return tokenizer


def _no_tokenizer(directory: Path, reason: str) -> SlipwayError:
    return invalid(
        f"cannot create the tokenizer.json that serving '{directory}' requires: {reason}. If transformers has a fast "
        f"tokenizer for this family, AutoTokenizer.from_pretrained(directory).save_pretrained(directory) writes the "
        f"file (sentencepiece must be installed). Marian's two sentencepiece models have no fast tokenizer, but many "
        f"Marian checkpoints are published with a tokenizer.json"
    )


def build_tokenizer(source: GenerationSource, reference: Any) -> Tokenizer:
    """Return a copy of the reference that truncates to the model's length and pads a batch to its longest row."""
    return copy_tokenizer(reference, source.max_length if source.max_length < _NO_LIMIT else None)


def check_tokenizer(source: GenerationSource, tokenizer: Tokenizer, reference: Any, texts: Sequence[str]) -> None:
    """Raise `SlipwayError` unless both tokenizers encode every text to the same ids."""
    limit = {"truncation": True, "max_length": source.max_length} if source.max_length < _NO_LIMIT else {}
    for text in texts:
        found = tokenizer.encode(text).ids
        if found != list(reference(text, **limit)["input_ids"]):
            raise disagreement(text)
        if not source.continues and max(found, default=0) >= source.spec.encoder.vocabulary:  # type: ignore[union-attr]
            raise invalid(f"the tokenizer returns id {max(found)}, which is outside the model's vocabulary")


def check_text(tokenizer: Tokenizer, reference: Any, ids: Sequence[int]) -> None:
    """Raise `SlipwayError` unless both tokenizers decode `ids` to the same text."""
    ours = tokenizer.decode(list(ids), skip_special_tokens=True)
    theirs = reference.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    if ours != theirs:
        raise invalid(f"the exported tokenizer decodes to {ours[:60]!r}, but transformers decodes to {theirs[:60]!r}")
