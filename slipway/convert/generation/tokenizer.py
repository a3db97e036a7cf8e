"""The tokenizer of a text generator: open it, copy it for serving, and compare the two in both directions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from slipway.convert.byte_tokenizer import CLASS as BYTE_TOKENIZER
from slipway.convert.generation.source import GenerationSource
from slipway.convert.tokenizer import copy_tokenizer, disagreement, open_reference
from slipway.errors import SlipwayError, invalid
from slipway.runtime.pieces import clean_up

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_NO_LIMIT: Final = 1 << 20
_REPLACEMENT: Final = "\ufffd"


def load_reference(source: GenerationSource) -> Any:
    """Return the tokenizer as `transformers` opens it; raise `SlipwayError` if it is missing or has no fast version."""
    tokenizer = open_reference(source.directory, partial(_no_tokenizer, source.directory))
    if "truncation_side" not in tokenizer.init_kwargs:  # the end of a prompt matters most
        tokenizer.truncation_side = "left" if source.continues else "right"
    return tokenizer


def cleans_up(reference: Any) -> bool:
    """Return whether transformers removes the spaces before punctuation when it decodes; for BPE it does not."""
    if type(reference).__name__ == BYTE_TOKENIZER:  # transformers has no fast form of it
        return bool(reference.clean_up_tokenization_spaces)
    forced = reference.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output
    bpe = type(reference.backend_tokenizer.model).__name__ == "BPE"
    return bool(reference.clean_up_tokenization_spaces) and (not bpe or bool(forced))


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
        if max(found, default=0) >= source.spec.input_stack.vocabulary:
            raise invalid(f"the tokenizer returns id {max(found)}, which is outside the model's vocabulary")


def vocabulary_notes(source: GenerationSource, tokenizer: Tokenizer) -> list[str]:
    """Return a note if the tokenizer has tokens that the model lacks."""
    known, largest = source.spec.input_stack.vocabulary, max(tokenizer.get_vocab().values(), default=0)
    if largest < known:
        return []
    note = f"the tokenizer has ids up to {largest}, but the model's vocabulary has {known}"
    return [f"{note}: requests whose text contains one outside it are refused"]


def decoding_notes(reference: Any) -> list[str]:
    """Return a note if the served models show something that transformers drops when it decodes."""
    if type(reference).__name__ != BYTE_TOKENIZER:
        return []
    return ["bytes that are not UTF-8 are shown as U+FFFD, as by other tokenizers of bytes; transformers drops them"]


def check_text(tokenizer: Tokenizer, reference: Any, ids: Sequence[int], omitted: Sequence[int] = ()) -> None:
    """Raise `SlipwayError` unless the served models and transformers decode `ids` to the same text, without special
    tokens, or without those in `omitted`."""
    kept = [token for token in ids if token not in omitted]
    ours = tokenizer.decode(kept, skip_special_tokens=not omitted)
    ours = clean_up(ours) if cleans_up(reference) else ours
    theirs = reference.decode(kept, skip_special_tokens=not omitted)
    if type(reference).__name__ == BYTE_TOKENIZER:  # it drops bytes that are not UTF-8, which the copy replaces
        ours = ours.replace(_REPLACEMENT, "")
    if ours != theirs:
        raise invalid(f"the exported tokenizer decodes to {ours[:60]!r}, but transformers decodes to {theirs[:60]!r}")
